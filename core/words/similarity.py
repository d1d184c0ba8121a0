"""Agreement of cosines with how similar people find two words: Spearman's rank correlation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.words.caseless import CaselessRows
from core.words.score_files import Pair


@dataclass(frozen=True)
class SimilarityScore:
    """Spearman's correlation over the `used` of `total` pairs; None if it is undefined."""

    used: int
    total: int
    spearman: float | None


def score_pairs(rows: CaselessRows, pairs: Sequence[Pair]) -> SimilarityScore:
    """Correlate people's similarity of pairs with the cosines of their vectors.

    Pairs with a word that is not in the table are skipped. Raises UserError for a vector of zeros.
    """
    known = []
    for pair in pairs:
        first, second = rows.row(pair.first), rows.row(pair.second)
        if first is not None and second is not None:
            known.append((first, second, pair.similarity))
    if not known:
        return SimilarityScore(0, len(pairs), None)
    first, second, similarity = zip(*known, strict=True)
    cosines = np.einsum("nd,nd->n", rows.table.units(first), rows.table.units(second))
    return SimilarityScore(len(known), len(pairs), spearman(np.array(similarity), cosines))


def spearman(x: np.ndarray, y: np.ndarray) -> float | None:
    """Return the correlation of the ranks of x [N] and y [N]; None if either is constant.

    Spearman (1904), The Proof and Measurement of Association between Two Things.
    """
    x, y = ranks(x), ranks(y)
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale else None


def ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks [N] from 1; equal values share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]
