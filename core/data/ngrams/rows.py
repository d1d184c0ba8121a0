"""Which n-grams each text has, as sparse rows, and sums over them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

BLOCK = 1 << 20
"""Values that are gathered at a time, which limits the memory of a sum."""
TOKENS = 1 << 18
"""Tokens that are sorted at a time."""


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
        bounds = np.searchsorted(texts, np.arange(count + 1))
        features, sizes = [np.zeros(0, np.int32)], np.zeros(count, np.int64)
        # A few texts at a time: the sort then stays in the cache, and needs little memory.
        for first, last in _groups(bounds, TOKENS):
            own = slice(bounds[first], bounds[last])
            pairs = ((texts[own, None] - first) * size + numbers[own])[numbers[own] >= 0]
            pairs.sort()
            if len(pairs):
                pairs = pairs[np.concatenate(([True], pairs[1:] != pairs[:-1]))]
                text, feature = np.divmod(pairs, size)
                sizes[first:last] = np.bincount(text, minlength=last - first)
                features.append(feature.astype(np.int32))
        return cls(np.concatenate(features), np.concatenate(([0], np.cumsum(sizes))))

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

    def take(self, chosen: np.ndarray) -> Rows:
        """Return the rows of the texts `chosen`."""
        sizes = np.diff(self.starts)[chosen]
        starts = np.concatenate(([0], np.cumsum(sizes)))
        places = np.repeat(self.starts[chosen] - starts[:-1], sizes) + np.arange(starts[-1])
        return Rows(self.features[places], starts)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of `values` [F, K] over the n-grams of each text, [N, K] float64; 0 for a text without any."""
        columns = values.shape[1]
        found = np.zeros((len(self), columns))
        rows = np.flatnonzero(np.diff(self.starts))
        bounds = np.append(self.starts[rows], self.starts[-1])
        for first, last in _groups(bounds, max(BLOCK // max(columns, 1), 1)):
            start, stop = bounds[first], bounds[last]
            gathered = values[self.features[start:stop]].astype(np.float64, copy=False)
            found[rows[first:last]] = np.add.reduceat(gathered, bounds[first:last] - start, axis=0)
        return found

    def counts(self, groups: np.ndarray, number: int, size: int) -> np.ndarray:
        """Return how many texts of each of `number` `groups` [N] have each of `size` n-grams, [number, size] int32."""
        found = np.zeros((number, size), np.int32)
        for group in range(number):
            own = self.take(np.flatnonzero(groups == group)).features
            found[group] = np.bincount(own, minlength=size)
        return found


def _groups(bounds: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Yield the first and last (excluded) of consecutive rows with `most` entries, or of one row with more.

    Row n has the entries from `bounds[n]` to `bounds[n + 1]`.
    """
    first = 0
    while first < len(bounds) - 1:
        last = max(int(np.searchsorted(bounds, bounds[first] + most, side="right")) - 1, first + 1)
        yield first, last
        first = last
