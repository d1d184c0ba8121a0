"""Encoded data sets and the batches cut from them. The order of examples is a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from core.errors import UserError
from core.streams import generator

PAD, UNK = 0, 1


@dataclass(frozen=True)
class Part:
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

    `ids` [B, L] int64, `lengths` [B] int64 (1 <= length <= L), `labels` [B] int64. `part` says of which larger batch
    these are some of the rows. `masks` are that larger batch's units to keep at every place of dropout, where they were
    drawn already (`core/ahead.py`).
    """

    ids: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    part: Part | None = None
    masks: dict[str, np.ndarray] | None = None

    def share(self, rank: int, size: int) -> Batch:
        """The rows of one of `size` processes, as wide as the whole: dropout masks are drawn for that."""
        if size == 1:
            return self
        part = Part(rank, size, len(self.labels))
        rows = part.chosen
        return Batch(self.ids[rows], self.lengths[rows], self.labels[rows], part, self.masks)

    @property
    def tokens(self) -> int:
        """Real tokens, padding not counted."""
        return int(self.lengths.sum())


@dataclass(frozen=True)
class Dataset:
    """Encoded, truncated sequences end to end: sequence n is `tokens[offsets[n]:offsets[n + 1]]`.

    `tokens` [total] int32, `offsets` [N + 1] int64, `labels` [N] int64, `names` N identifiers for predictions.csv.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    names: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def batch(self, rows: np.ndarray) -> Batch:
        """The sequences `rows`, in that order, as one padded batch."""
        return pad([self.tokens[self.offsets[row] : self.offsets[row + 1]] for row in rows], self.labels[rows])


def pad(sequences: list[np.ndarray], labels: np.ndarray) -> Batch:
    """Pad id sequences to the longest. Raises UserError for an empty sequence or an empty list."""
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    if len(lengths) == 0:
        raise UserError("a batch needs at least one text, and there is none")
    if lengths.min() == 0:
        raise UserError(f"text {int(lengths.argmin()) + 1} has no tokens: give every text at least one word")
    ids = np.full((len(sequences), lengths.max()), PAD, dtype=np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
    return Batch(ids, lengths, np.asarray(labels, dtype=np.int64))


def check_dataset(dataset: Dataset, vocab_size: int, classes: int) -> None:
    """Refuse ids, lengths and labels out of range, once per data set: Paddle does not when `padding_idx` is set.

    Raises UserError. A real token is never PAD, so ids lie in 1..vocab_size - 1.
    """
    if len(dataset) == 0:
        raise UserError("the data set is empty: there must be at least one text")
    if dataset.lengths.min() < 1:
        raise UserError(f"{dataset.names[int(dataset.lengths.argmin())]}: has no tokens; every text needs at least one")
    low, high = int(dataset.tokens.min()), int(dataset.tokens.max())
    if low <= PAD or high >= vocab_size:
        raise UserError(f"token ids must lie in 1..{vocab_size - 1}, found {low}..{high}")
    low, high = int(dataset.labels.min()), int(dataset.labels.max())
    if low < 0 or high >= classes:
        raise UserError(f"labels must lie in 0..{classes - 1}, found {low}..{high}")


def epoch_order(
    lengths: np.ndarray, batch_size: int, bucket_batches: int, seed: int, epoch: int, shuffle: bool = True
) -> list[np.ndarray]:
    """Row numbers of every batch of an epoch, in order; each row once, the last of a bucket possibly short.

    Rows are shuffled, cut into buckets of `bucket_batches` batches, sorted by length within a bucket (ties stay
    shuffled), cut into batches, and the batches shuffled. `bucket_batches` 0 or 1 leaves the plain shuffle. Without
    `shuffle` the rows are cut into batches as they stand.
    """
    rng = generator(seed, "order", epoch)
    order = rng.permutation(len(lengths)) if shuffle else np.arange(len(lengths))
    if bucket_batches > 1:
        span = bucket_batches * batch_size
        buckets = [order[start : start + span] for start in range(0, len(order), span)]
        order = np.concatenate([bucket[np.argsort(lengths[bucket], kind="stable")] for bucket in buckets])
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if bucket_batches > 1:
        batches = [batches[index] for index in rng.permutation(len(batches))]
    return batches


def evaluation_batches(dataset: Dataset, batch_size: int) -> Iterator[tuple[np.ndarray, Batch]]:
    """Every row once, longest first, with its row numbers: similar lengths together, so little padding."""
    order = np.argsort(-dataset.lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        yield rows, dataset.batch(rows)


def real_mask(batch: Batch) -> np.ndarray:
    """[B, L] bool: True where a token is real."""
    return np.arange(batch.ids.shape[1]) < batch.lengths[:, None]


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
