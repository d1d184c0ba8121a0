"""Look-up of words without regard to case, as word2vec's and gensim's evaluations do it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.words.vector_table import VectorTable


@dataclass(frozen=True)
class CaselessRows:
    """Rows of a table by word without case. Of several spellings the first row, the most frequent one, counts.

    Words with a vector of zeros count as absent: they have no cosine.
    """

    table: VectorTable

    @cached_property
    def first(self) -> dict[str, int]:
        """First row by upper-case word."""
        rows: dict[str, int] = {}
        for row in np.flatnonzero(self.table.norms):
            rows.setdefault(self.table.words[row].upper(), int(row))
        return rows

    @cached_property
    def group(self) -> np.ndarray:
        """The first row [N] of the spellings of each row's word."""
        first = self.first
        return np.array([first.get(word.upper(), row) for row, word in enumerate(self.table.words)], dtype=np.int64)

    @cached_property
    def spellings(self) -> dict[int, np.ndarray]:
        """All rows of the words with several spellings, by their first row."""
        order = np.argsort(self.group, kind="stable")
        firsts, starts, counts = np.unique(self.group[order], return_index=True, return_counts=True)
        several = np.flatnonzero(counts > 1)
        return {int(firsts[n]): order[starts[n] : starts[n] + counts[n]] for n in several}

    def row(self, word: str) -> int | None:
        """Return the row of a word, None if the table does not have it."""
        return self.first.get(word.upper())
