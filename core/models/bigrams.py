"""Ids of bigrams: pairs of a token and the one before it, hashed to the rows of a table."""

from __future__ import annotations

import numpy as np

from core.batch import PAD

FACTORS = 0x9E3779B1, 0x85EBCA77
"""Odd 32-bit factors of the hash, by which neighboring ids get distant rows (Knuth, multiplicative hashing)."""


def bigram_ids(ids: np.ndarray, rows: int) -> np.ndarray:
    """Return the bigram of every token and the one before it, [B, L] int64 in 1..rows - 1, 0 at padding.

    `ids` [B, L]. The first token is paired with PAD. Different bigrams may share a row (Weinberger et al. 2009). No
    vocabulary of bigrams is needed, and both frameworks get the same ids.
    """
    before = np.concatenate([np.full((len(ids), 1), PAD, ids.dtype), ids[:, :-1]], axis=1)
    mixed = (before.astype(np.uint64) * FACTORS[0] + ids.astype(np.uint64) * FACTORS[1]) & 0xFFFFFFFF
    mixed ^= mixed >> 15
    return np.where(ids == PAD, PAD, 1 + (mixed % np.uint64(rows - 1)).astype(np.int64))
