"""Batches of an ensemble: models trained in parallel, each on different data."""

from __future__ import annotations

import numpy as np

from core.batch import Batch
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

    def __len__(self) -> int:
        """Return the number of sequences per model."""
        return self._lengths.shape[1]

    def batch(self, rows: np.ndarray) -> Batch:
        lengths = self._lengths[self._models, rows].reshape(-1)
        ids = self._ids[self._models, rows].reshape(len(lengths), -1)[:, : lengths.max()]
        targets = {name: array[self._models, rows].reshape(-1) for name, array in self._targets.items()}
        return Batch(np.ascontiguousarray(ids), lengths, targets)
