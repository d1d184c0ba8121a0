"""A table of word vectors, and the cosines of its words with a direction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from core.errors import UserError

ADVICE = "give other vectors, or vectors before the training diverged"


@dataclass(frozen=True)
class VectorTable:
    """The vectors `values` [N, D] float of N distinct `words`, the most frequent one first.

    `values` may be memory-mapped. `left_out` counts entries of the file without a place here, by reason.
    """

    name: str
    words: list[str]
    values: np.ndarray
    left_out: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.words)

    @property
    def dim(self) -> int:
        return self.values.shape[1]

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each word."""
        return {word: row for row, word in enumerate(self.words)}

    @cached_property
    def norms(self) -> np.ndarray:
        """Euclidean norms [N]. Raises UserError for a vector that is not finite."""
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.sqrt(np.einsum("nd,nd->n", self.values, self.values))
        if not np.isfinite(norms).all():
            word = self.words[int(np.flatnonzero(~np.isfinite(norms))[0])]
            raise UserError(f"{self.name}: the vector of {word!r} is not finite, or too long: {ADVICE}")
        return norms

    def units(self, rows: Iterable[int]) -> np.ndarray:
        """Return the unit vectors [n, D] float64 of n rows. Raises UserError for a vector of zeros."""
        rows = np.fromiter(rows, dtype=np.int64)
        norms = self.norms[rows]
        if not norms.all():
            word = self.words[rows[int(np.flatnonzero(norms == 0)[0])]]
            raise UserError(f"{self.name}: the vector of {word!r} is zero, so it has no cosine: omit the word")
        values = np.asarray(self.values[rows], dtype=np.float64)
        return values / np.sqrt(np.einsum("nd,nd->n", values, values))[:, None]

    def cosines(self, direction: np.ndarray) -> np.ndarray:
        """Return the cosines [N] of all words with a direction [D], -inf for a vector of zeros.

        The direction of zeros has the cosine 0 with every word.
        """
        length = float(np.sqrt(direction @ direction)) or 1.0
        products = self.values @ (direction / length).astype(self.values.dtype)
        return np.divide(products, self.norms, out=np.full_like(products, -np.inf), where=self.norms > 0)

    def head(self, count: int) -> VectorTable:
        """Return the table of the `count` most frequent words; a smaller table is returned as it is."""
        if count >= len(self):
            return self
        return VectorTable(self.name, self.words[:count], self.values[:count], self.left_out)
