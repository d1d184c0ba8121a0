"""The words whose vectors have the largest cosine with a direction, and the nearest spellings of an unknown word.

Mikolov, Yih and Zweig (2013), Linguistic Regularities in Continuous Space Word Representations, answer "A is to B as C
is to what" by the word nearest to B - A + C. Levy and Goldberg (2014), Linguistic Regularities in Sparse and Explicit
Word Representations, name this 3CosAdd, on unit vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from core.words.vector_table import VectorTable

FARTHEST = 2
"""Largest edit distance of a spelling."""


@dataclass(frozen=True)
class Neighbor:
    """A word, its row in the table, and its cosine with the query."""

    word: str
    row: int
    cosine: float


def nearest(table: VectorTable, query: Sequence[int], count: int) -> list[Neighbor]:
    """Return the `count` words nearest to the mean of the unit vectors of the `query` rows, without these words.

    Raises UserError for a vector of zeros in the query.
    """
    return closest(table, table.units(query).mean(axis=0), query, count)


def analogy(table: VectorTable, a: int, b: int, c: int, count: int) -> list[Neighbor]:
    """Return the `count` words nearest to B - A + C of unit vectors (3CosAdd), without the three words.

    Raises UserError for a vector of zeros among the three rows.
    """
    from_a, to_b, from_c = table.units((a, b, c))
    return closest(table, to_b - from_a + from_c, (a, b, c), count)


def closest(table: VectorTable, direction: np.ndarray, left_out: Iterable[int], count: int) -> list[Neighbor]:
    """Return the words with the `count` largest cosines with a direction [D], without the rows `left_out`.

    Vectors of zeros are left out, too. Of equal cosines the more frequent word comes first.
    """
    cosines = table.cosines(direction)
    cosines[list(left_out)] = -np.inf
    rows = [int(row) for row in largest(cosines, count) if np.isfinite(cosines[row])]
    return [Neighbor(table.words[row], row, float(cosines[row])) for row in rows]


def largest(scores: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of the `count` largest `scores` [N], by decreasing score, then by index; no full sort."""
    count = min(count, len(scores))
    if count < 1:
        return np.zeros(0, dtype=np.int64)
    # Every score that equals the last one that is in takes part, so that ties are decided by index.
    last = np.partition(scores, len(scores) - count)[len(scores) - count]
    rows = np.flatnonzero(scores >= last)
    return rows[np.lexsort((rows, -scores[rows]))][:count]


def spellings(word: str, words: Sequence[str], count: int = 3) -> list[str]:
    """Return up to `count` of `words` that are spelled almost like `word`, the nearest first, then in their order.

    The distance counts inserted, removed, replaced and swapped characters (Damerau 1964, adjacent swaps), of `word` as
    it is or in lower case; it is at most a third of the length, at least 1, at most `FARTHEST`.
    """
    limit = min(max(len(word) // 3, 1), FARTHEST)
    rows = [row for row, other in enumerate(words) if abs(len(other) - len(word)) <= limit]
    if not rows or not word:
        return []
    candidates = [words[row] for row in rows]
    variants = dict.fromkeys((word, word.lower()))
    distances = np.min([edit_distances(variant, candidates) for variant in variants], axis=0)
    order = np.lexsort((rows, distances))[:count]
    return [candidates[place] for place in order if distances[place] <= limit]


def edit_distances(word: str, others: Sequence[str]) -> np.ndarray:
    """Return the edit distances [N] of `word` to N `others`, with adjacent swaps; all words in step."""
    lengths = np.array([len(other) for other in others])
    width = max(int(lengths.max()), 1)
    letters = np.array(others, dtype=f"U{width}").view(np.uint32).reshape(len(others), width).T  # [width, N]
    letters = np.ascontiguousarray(letters)
    before, row = None, np.repeat(np.arange(width + 1, dtype=np.int16)[:, None], len(others), axis=1)
    for i, letter in enumerate(map(ord, word)):
        new = np.empty_like(row)
        new[0] = i + 1
        for j in range(width):
            new[j + 1] = np.minimum(row[j] + (letters[j] != letter), np.minimum(row[j + 1], new[j]) + 1)
            if before is not None and j:
                swapped = (letters[j] == ord(word[i - 1])) & (letters[j - 1] == letter)
                new[j + 1] = np.where(swapped, np.minimum(new[j + 1], before[j - 1] + 1), new[j + 1])
        before, row = row, new
    return row[lengths, np.arange(len(others))]
