"""Random numbers of word2vec: a counter-based generator, subsampling, and the noise distribution.

The numbers are defined by integer arithmetic alone, so that NumPy and the compiled kernels give the same bits.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from core.rng import generator

GOLDEN, MIX1, MIX2 = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
"""Constants of SplitMix64 (Steele, Lea and Flood 2014)."""

LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


def key_of(seed: int, *place: object) -> int:
    """Return the 64-bit key of a stream of `random_bits`."""
    return int(generator(seed, *place).bit_generator.random_raw())


def random_bits(key: int, start: int, count: int) -> np.ndarray:
    """Return numbers `start` to `start + count` (excluded) of the stream `key`, [count] uint64.

    Number n is SplitMix64's output function of key + (n + 1) * GOLDEN.
    """
    z = np.arange(start + 1, start + count + 1, dtype=np.uint64)
    z *= GOLDEN
    z += np.uint64(key)
    z ^= z >> np.uint64(30)
    z *= MIX1
    z ^= z >> np.uint64(27)
    z *= MIX2
    z ^= z >> np.uint64(31)
    return z


def below(bits: np.ndarray, limit: int) -> np.ndarray:
    """Return uniform integers 0 to `limit` - 1 (below 2^31) from the low 32 bits, int64.

    Their probabilities differ by at most 2^-32.
    """
    return ((bits & LOW) * np.uint64(limit) >> HALF).astype(np.int64)


def keep_thresholds(counts: np.ndarray, subsample: float) -> np.ndarray:
    """Return the subsampling threshold of every word, [V] uint64.

    A word of relative frequency f is kept if the high 32 bits of its number are below 2^32 * sqrt(subsample / f)
    (Mikolov et al. 2013, section 2.3). `subsample` 0 keeps all.
    """
    if subsample == 0.0:
        return np.full(len(counts), 1 << 32, dtype=np.uint64)
    kept = np.minimum(1.0, np.sqrt(subsample * counts.sum() / counts))
    return np.rint(kept * 2.0**32).astype(np.uint64)


@dataclass(frozen=True)
class NoiseTable:
    """The noise distribution as an alias table (Walker 1977; Vose 1991).

    Column j, drawn uniformly, gives word j if the low 32 bits are below `threshold[j]`, else `alias[j]`; `threshold`
    [V] uint32, `alias` [V] int32.
    """

    threshold: np.ndarray
    alias: np.ndarray

    @functools.cached_property
    def probabilities(self) -> np.ndarray:
        """Return the probability of every word, [V] float64, as the table draws it."""
        share = self.threshold.astype(np.float64) / 2.0**32
        own = share.copy()
        np.add.at(own, self.alias, 1.0 - share)
        return own / len(own)


def noise_table(counts: np.ndarray, power: float) -> NoiseTable:
    """Return the table of noise words, which have probabilities proportional to count ** power."""
    weights = np.asarray(counts, dtype=np.float64) ** power
    scaled = weights * (len(weights) / weights.sum())
    alias = np.arange(len(weights), dtype=np.int32)
    # Lists: single elements of arrays are slow.
    height = scaled.tolist()
    small = [n for n, value in enumerate(height) if value < 1.0]
    large = [n for n, value in enumerate(height) if value >= 1.0]
    while small and large:
        low, high = small.pop(), large[-1]
        alias[low] = high
        height[high] -= 1.0 - height[low]
        if height[high] < 1.0:
            small.append(large.pop())
    for rest in (*small, *large):  # 1 up to rounding; each is its own alias
        height[rest] = 1.0
    threshold = np.minimum(np.rint(np.array(height) * 2.0**32), 2.0**32 - 1).astype(np.uint32)
    return NoiseTable(threshold, alias)


def draw_noise(table: NoiseTable, key: int, positives: np.ndarray, negatives: int) -> np.ndarray:
    """Return `positives` [P] with noise words: [P, 1 + negatives] int32, the positive first.

    A noise word that equals its positive is -1, and skipped. Noise word k of prediction n has the number
    n * negatives + k of the stream.
    """
    bits = random_bits(key, 0, len(positives) * negatives)
    column = ((bits >> HALF) * np.uint64(len(table.alias)) >> HALF).astype(np.int64)
    own = (bits & LOW) < table.threshold[column].astype(np.uint64)
    noise = np.where(own, column, table.alias[column]).astype(np.int32).reshape(len(positives), negatives)
    noise[noise == positives[:, None]] = -1
    return np.concatenate([positives[:, None].astype(np.int32), noise], axis=1)
