"""Random numbers keyed by name, independent of earlier draws.

Philox is counter-based (Salmon et al. 2011): a stream is identified by a key, not by a position in a sequence. Adding a
parameter therefore changes no other parameter, and a resumed run draws the same dropout masks as an uninterrupted one.
"""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *place: object) -> np.random.Generator:
    """Return a NumPy generator keyed by (seed, place).

    `place`: strings and integers, as `("order", 3)`.
    """
    return np.random.Generator(np.random.Philox(key=philox_key(seed, *place)))


def philox_key(seed: int, *place: object) -> int:
    """Return the key of 128 bits of the stream of (seed, place)."""
    text = "/".join([str(seed), *map(str, place)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


def dropout_mask(seed: int, step: int, place: str, shape: tuple[int, ...], rate: float) -> np.ndarray:
    """Return the units to keep, bool of `shape`, keyed by (seed, step, place).

    Each unit is kept with probability 1 - rate, rounded to 1 / 65536. Sixteen random bits per unit take a quarter of
    the time of drawing doubles.
    """
    size = int(np.prod(shape))
    words = np.random.Philox(key=dropout_key(seed, step, place)).random_raw((size + 3) // 4)
    return (words.astype("<u8", copy=False).view("<u2")[:size] >= dropout_threshold(rate)).reshape(shape)


def dropout_key(seed: int, step: int, place: str) -> int:
    """Return the key of the stream of a dropout mask."""
    return philox_key(seed, "dropout", step, place)


def dropout_threshold(rate: float) -> int:
    """Return the number of 65536 below which 16 random bits drop a unit."""
    return round(rate * 65536)


def native_seed(seed: int, step: int, part: int = 0) -> int:
    """Return a seed below 2^31 for a framework's generator (`dropout_masks = native`).

    The seed depends on the step and on `part`, the rank of a batch's shard.
    """
    return int(generator(seed, "native", step, *([part] if part else [])).integers(2**31))
