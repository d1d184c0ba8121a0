"""Which n-grams each text has, as sparse rows, and sums over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLOCK = 1 << 22
"""Entries that are gathered at a time, which limits the memory of a sum."""


@dataclass(frozen=True)
class Rows:
    """Sparse rows: text n has the n-grams `features[starts[n]:starts[n + 1]]`, each once, in ascending order.

    `features` [entries] int32; `starts` [N + 1] int64.
    """

    features: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, numbers: np.ndarray, texts: np.ndarray, count: int, size: int) -> Rows:
        """Return the rows of `count` texts with `size` n-grams.

        `numbers` [T, orders]: n-grams that end at each token, negative ones if absent; `texts` [T]: their texts.
        """
        present = numbers >= 0
        pairs = (texts[:, None] * size + numbers)[present]
        pairs.sort()
        pairs = pairs[np.concatenate(([True], pairs[1:] != pairs[:-1]))] if len(pairs) else pairs
        text, feature = np.divmod(pairs, max(size, 1))
        starts = np.concatenate(([0], np.cumsum(np.bincount(text, minlength=count))))
        return cls(feature.astype(np.int32), starts.astype(np.int64))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def joined(self, other: Rows, offset: int) -> Rows:
        """Return the rows of the same texts with the n-grams of `other` added, numbered from `offset`."""
        sizes = np.diff(self.starts) + np.diff(other.starts)
        starts = np.concatenate(([0], np.cumsum(sizes)))
        features = np.empty(starts[-1], dtype=np.int32)
        second = np.repeat(np.arange(len(self)), np.diff(other.starts))
        places = np.arange(len(other.features)) + self.starts[1:][second]
        mask = np.ones(len(features), dtype=bool)
        mask[places] = False
        features[mask] = self.features
        features[places] = other.features + offset
        return Rows(features, starts)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of `values` [F, K] over the n-grams of each text, [N, K] float64; 0 for a text without any."""
        found = np.zeros((len(self), values.shape[1]))
        sizes = np.diff(self.starts)
        rows = np.flatnonzero(sizes)
        ends = np.cumsum(sizes[rows])
        cuts = np.searchsorted(ends, np.arange(BLOCK, ends[-1] + BLOCK, BLOCK)) + 1 if len(rows) else []
        for block in np.split(rows, np.unique(np.minimum(cuts, len(rows)))):
            if len(block):
                start, stop = self.starts[block[0]], self.starts[block[-1] + 1]
                gathered = values[self.features[start:stop]].astype(np.float64, copy=False)
                found[block] = np.add.reduceat(gathered, self.starts[block] - start, axis=0)
        return found

    def counts(self, groups: np.ndarray, number: int, size: int) -> np.ndarray:
        """Return how many texts of each of `number` `groups` [N] have each of `size` n-grams, [number, size] int64."""
        group = np.repeat(groups, np.diff(self.starts))
        return np.bincount(group * size + self.features, minlength=number * size).reshape(number, size)
