"""Batches of an ensemble: models trained in parallel, each on different data."""

from __future__ import annotations

import numpy as np

from core.batch import Batch, NgramBatch
from core.data.dataset import Dataset


class Stack:
    """Data sets of M models with equal numbers of sequences.

    `batch(rows)`, with `rows` [M, B], returns one batch [M * B, L] of all models.
    """

    def __init__(self, datasets: list[Dataset]) -> None:
        width = max(int(dataset.lengths.max()) for dataset in datasets)
        batches = [dataset.batch(np.arange(len(dataset))) for dataset in datasets]
        self._ids = np.stack([np.pad(b.ids, ((0, 0), (0, width - b.ids.shape[1]))) for b in batches])
        self._lengths = np.stack([b.lengths for b in batches])
        self._targets = {name: np.stack([b.targets[name] for b in batches]) for name in batches[0].targets}
        self._models = np.arange(len(datasets))[:, None]
        self._ngrams = _stacked([b.ngrams for b in batches if b.ngrams is not None], width)

    def __len__(self) -> int:
        """Return the number of sequences per model."""
        return self._lengths.shape[1]

    def batch(self, rows: np.ndarray) -> Batch:
        lengths = self._lengths[self._models, rows].reshape(-1)
        ids = self._ids[self._models, rows].reshape(len(lengths), -1)[:, : lengths.max()]
        targets = {name: array[self._models, rows].reshape(-1) for name, array in self._targets.items()}
        return Batch(np.ascontiguousarray(ids), lengths, targets, ngrams=self._ngrams_of(rows, int(lengths.max())))

    def _ngrams_of(self, rows: np.ndarray, width: int) -> NgramBatch | None:
        if self._ngrams is None:
            return None
        logits, values = self._ngrams.logits[self._models, rows], self._ngrams.values[self._models, rows, :width]
        count = rows.size
        return NgramBatch(logits.reshape(count, -1), np.ascontiguousarray(values.reshape(count, width, -1)))


def _stacked(ngrams: list[NgramBatch], width: int) -> NgramBatch | None:
    """Return the n-grams of M models as `logits` [M, N, K] and `values` [M, N, width, V]; None for none."""
    if not ngrams:
        return None
    values = [np.pad(own.values, ((0, 0), (0, width - own.values.shape[1]), (0, 0))) for own in ngrams]
    return NgramBatch(np.stack([own.logits for own in ngrams]), np.stack(values))
