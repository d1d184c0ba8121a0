"""Batches: padded id sequences with their targets, and index arrays that describe their real tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.errors import UserError

PAD, UNK = 0, 1


@dataclass(frozen=True)
class BatchShard:
    """Which rows of a batch of `rows` rows a process has: each `size`-th, from `rank` on. Where there is none for it,
    the first stands in, and counts nothing."""

    rank: int
    size: int
    rows: int

    @property
    def counts(self) -> bool:
        return self.rank < self.rows

    @property
    def chosen(self) -> np.ndarray:
        return np.arange(self.rank, self.rows, self.size) if self.counts else np.zeros(1, np.int64)


@dataclass(frozen=True)
class Batch:
    """Sequences of unequal length, padded on the right with PAD up to the longest.

    `ids` [B, L] int64, `lengths` [B] int64 (1 <= length <= L), `targets` by name, arrays of B rows: of a classifier
    `label` [B] int64. `shard` says of which larger batch these are some of the rows. `masks` are that larger batch's
    units to keep at every place of dropout, where they were drawn already (`core/data/prefetch.py`).
    """

    ids: np.ndarray
    lengths: np.ndarray
    targets: dict[str, np.ndarray]
    shard: BatchShard | None = None
    masks: dict[str, np.ndarray] | None = None

    def sharded(self, rank: int, size: int) -> Batch:
        """The rows of one of `size` processes, as wide as the whole: dropout masks are drawn for that."""
        if size == 1:
            return self
        shard = BatchShard(rank, size, len(self.lengths))
        rows = shard.chosen
        targets = {name: array[rows] for name, array in self.targets.items()}
        return Batch(self.ids[rows], self.lengths[rows], targets, shard, self.masks)

    @property
    def labels(self) -> np.ndarray:
        """[B] int64, of a classifier's batch."""
        return self.targets["label"]

    @property
    def tokens(self) -> int:
        """Real tokens, padding not counted."""
        return int(self.lengths.sum())


def pad(sequences: list[np.ndarray], targets: dict[str, np.ndarray]) -> Batch:
    """Pad id sequences to the longest. Raises UserError for an empty sequence or an empty list."""
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    if len(lengths) == 0:
        raise UserError("a batch needs at least one text, and there is none")
    if lengths.min() == 0:
        raise UserError(f"text {int(lengths.argmin()) + 1} has no tokens: give every text at least one word")
    ids = np.full((len(sequences), lengths.max()), PAD, dtype=np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
    return Batch(ids, lengths, targets)


@dataclass(frozen=True)
class Windows:
    """Windows of `width` tokens side by side that lie within the real tokens, at least one of each sequence: where the
    text is shorter than that, one at its start. Windows of width 1 are the real tokens."""

    batch: Batch
    width: int = 1

    @cached_property
    def counts(self) -> np.ndarray:
        """[B, 1] int64."""
        return np.maximum(self.batch.lengths - self.width + 1, 1)[:, None]

    @cached_property
    def mask(self) -> np.ndarray:
        """[B, L, 1] bool: True where one begins."""
        return (np.arange(self.batch.ids.shape[1]) < self.counts)[:, :, None]


def real_mask(batch: Batch) -> np.ndarray:
    """[B, L] bool: True where a token is real."""
    return Windows(batch).mask[:, :, 0]


def reversal_index(batch: Batch) -> np.ndarray:
    """[B * L] int64: rows of a flattened [B * L, D] that reverse each sequence within its length.

    Padding stays where it is, so this is a permutation, and its own inverse.
    """
    rows, width = batch.ids.shape
    time = np.arange(width)[None, :]
    lengths = batch.lengths[:, None]
    within = np.where(time < lengths, lengths - 1 - time, time)
    return (np.arange(rows)[:, None] * width + within).reshape(-1)


def packing(batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Real tokens end to end, first those of all sequences at time 0, then at time 1, and so on, the longer sequences
    first: what PyTorch calls a packed sequence.

    `order` [B] int64: the rows, longest first. `sizes` [longest] int64: how many of them are that long, at each time.
    `place` [tokens] int64: the row of every token in a flattened [B * L, D].
    """
    order = np.argsort(-batch.lengths, kind="stable")
    lengths = batch.lengths[order]
    time = np.arange(lengths[0])[:, None]
    real = time < lengths
    return order, real.sum(axis=1), (order * batch.ids.shape[1] + time)[real]


def last_index(batch: Batch) -> np.ndarray:
    """[B] int64: row of each sequence's last real token in a flattened [B * L, D]."""
    return np.arange(len(batch.lengths)) * batch.ids.shape[1] + batch.lengths - 1


def first_index(batch: Batch) -> np.ndarray:
    """[B] int64: row of each sequence's first token in a flattened [B * L, D]."""
    return np.arange(len(batch.lengths)) * batch.ids.shape[1]
