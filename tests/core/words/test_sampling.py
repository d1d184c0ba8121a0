"""Random numbers of word2vec: the published generator, and the distributions drawn by it."""

from __future__ import annotations

import numpy as np
import pytest

from core.parity.words.definition import noise_probabilities, split_mix
from core.words.sampling import below, draw_noise, keep_thresholds, key_of, noise_table, random_bits

PUBLISHED = (
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
)
"""First outputs of SplitMix64 with seed 1234567, as its authors' reference program prints them."""


def zipf_counts(rng, words: int) -> np.ndarray:
    """Counts of words whose frequency falls as 1 / rank, with random deviations; the rarest occurs once."""
    counts = 1e6 / np.arange(1, words + 1) * rng.uniform(0.5, 1.5, words)
    return np.maximum(1, np.sort(counts)[::-1]).astype(np.int64)


def deviation(found: np.ndarray, expected: np.ndarray) -> float:
    """Return chi-square in standard deviations from its mean."""
    degrees = len(expected) - 1
    return float((((found - expected) ** 2 / expected).sum() - degrees) / np.sqrt(2 * degrees))


def test_generator_gives_its_published_numbers():
    assert tuple(random_bits(1234567, 0, 5).tolist()) == PUBLISHED
    assert tuple(split_mix(1234567, number) for number in range(5)) == PUBLISHED


def test_stream_is_addressed_by_number(rng):
    key = int(rng.integers(0, 2**64, dtype=np.uint64))
    whole = random_bits(key, 0, 100)
    start = int(rng.integers(100))
    assert (random_bits(key, start, 100 - start) == whole[start:]).all() and len(random_bits(key, 3, 0)) == 0
    assert whole[99] == split_mix(key, 99)
    assert key_of(1, "words", 2, 3) == key_of(1, "words", 2, 3) != key_of(1, "words", 3, 2)


def test_integers_below_a_limit_are_uniform(rng):
    bits = random_bits(int(rng.integers(2**63)), 0, 200_000)
    found = np.bincount(below(bits, 7))
    assert len(found) == 7 and abs(deviation(found, np.full(7, 200_000 / 7))) < 7
    assert below(np.array([2**32 - 1], dtype=np.uint64), 7) == 6


def test_words_are_kept_with_the_probability_of_the_paper(rng):
    counts = zipf_counts(rng, 500)
    frequency = counts / counts.sum()
    dropped = np.maximum(0.0, 1.0 - np.sqrt(1e-3 / frequency))
    assert dropped[0] > 0.5 and dropped[-1] == 0.0
    np.testing.assert_allclose(keep_thresholds(counts, 1e-3) / 2.0**32, 1.0 - dropped, atol=1e-9)
    assert (keep_thresholds(counts, 0.0) == 2**32).all()


@pytest.mark.parametrize("power", [0.0, 0.75, 2.0])
@pytest.mark.parametrize("words", [2, 3, 1000, 50_000])
def test_alias_table_has_the_exact_probabilities(rng, words, power):
    counts = zipf_counts(rng, words)
    found = noise_table(counts, power)
    np.testing.assert_allclose(found.probabilities, noise_probabilities(counts, power), rtol=0, atol=1e-9)
    assert found.alias.min() >= 0 and found.alias.max() < words
    assert (found.threshold.dtype, found.alias.dtype) == (np.uint32, np.int32)


def test_noise_words_follow_the_distribution(rng):
    counts, key = zipf_counts(rng, 300), int(rng.integers(2**63))
    positives = np.full(200_000, 299)
    drawn = draw_noise(noise_table(counts, 0.75), key, positives, 5)[:, 1:]
    drawn = np.where(drawn < 0, 299, drawn)
    weights = counts**0.75
    found = np.bincount(drawn.ravel(), minlength=300)
    assert abs(deviation(found, 1e6 * weights / weights.sum())) < 7
    # The test can fail: without the power it is far off.
    assert deviation(found, 1e6 * counts / counts.sum()) > 100


def test_noise_that_equals_its_positive_is_skipped(rng):
    table = noise_table(np.array([5, 3, 1]), 1.0)
    positives = rng.integers(0, 3, 1000).astype(np.int32)
    drawn = draw_noise(table, 99, positives, 4)
    assert drawn.dtype == np.int32 and (drawn[:, 0] == positives).all()
    assert (drawn[:, 1:] != positives[:, None]).all() and (drawn[:, 1:] == -1).any()
    # All positives have the same stream: what is not skipped here is the word that was drawn.
    other = draw_noise(table, 99, (positives + 1) % 3, 4)
    both = (drawn[:, 1:] >= 0) & (other[:, 1:] >= 0)
    assert both.any() and (drawn[:, 1:][both] == other[:, 1:][both]).all()
