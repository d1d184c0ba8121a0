"""Batches: padded id sequences with targets, and index arrays over their real tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.errors import UserError

PAD, UNK = 0, 1


@dataclass(frozen=True)
class Ragged:
    """Integer sequences of unequal length, concatenated: sequence n is `values[offsets[n]:offsets[n + 1]]`.

    `values` [total]; `offsets` [N + 1] int64.
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, sequences: list[np.ndarray]) -> Ragged:
        """Concatenate sequences."""
        lengths = [len(sequence) for sequence in sequences]
        values = np.concatenate(sequences) if sequences else np.zeros(0, np.int64)
        return cls(values, np.concatenate(([0], np.cumsum(lengths))).astype(np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> np.ndarray:
        return self.values[self.offsets[number] : self.offsets[number + 1]]

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def padded(self, rows: np.ndarray) -> np.ndarray:
        """Return the sequences `rows`, in that order, padded with 0 to the longest, [len(rows), width] int64."""
        return padded([self[row] for row in rows])

    def first(self, size: int) -> Ragged:
        """Return the first `size` sequences."""
        return Ragged(self.values[: self.offsets[size]], self.offsets[: size + 1])


Targets = Mapping[str, "np.ndarray | Ragged"]
"""Targets of a data set by name: arrays of N rows, or a sequence per text."""


@dataclass(frozen=True)
class BatchShard:
    """One process's rows of a batch of `rows` rows: every `size`-th, from `rank`.

    A process without a row computes row 0 with weight zero.
    """

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
class NgramBatch:
    """The n-grams of a batch (`core/data/ngrams`).

    `logits` [B, K] float32: those of the linear models; `values` [B, L, V] float32: what is joined to the word vectors,
    0 at padding.
    """

    logits: np.ndarray
    values: np.ndarray

    def rows(self, chosen: np.ndarray) -> NgramBatch:
        """Return the chosen rows, of unchanged width."""
        return NgramBatch(self.logits[chosen], self.values[chosen])


@dataclass(frozen=True)
class Noise:
    """The noise words of a training step of a language model, shared by its batch.

    `ids` [K] int64; `logs` [V] float64: logarithms of the expected number of each word among them.
    """

    ids: np.ndarray
    logs: np.ndarray


@dataclass(frozen=True)
class Batch:
    """Sequences of unequal length, padded on the right with PAD to the longest.

    `ids` [B, L] int64; `lengths` [B] int64 (1 <= length <= L); `targets`: arrays of B rows by name, for a classifier
    `label` [B] int64; sequences are padded with 0, as `tags` [B, L] int64. `shard` locates these rows in a larger
    batch, None for a full batch. `masks` holds the dropout masks of the full batch by dropout place, if they were
    prefetched (`core/data/prefetch.py`). `ngrams`: for a model with n-grams, otherwise None. `noise`: in a training
    step of a language model, otherwise None.
    """

    ids: np.ndarray
    lengths: np.ndarray
    targets: dict[str, np.ndarray]
    shard: BatchShard | None = None
    masks: dict[str, np.ndarray] | None = None
    ngrams: NgramBatch | None = None
    noise: Noise | None = None

    def sharded(self, rank: int, size: int) -> Batch:
        """Return the rows of process `rank` of `size`, padded to the width of the full batch.

        Dropout masks are drawn for the full batch, so every shard keeps its width.
        """
        if size == 1:
            return self
        shard = BatchShard(rank, size, len(self.lengths))
        rows = shard.chosen
        targets = {name: array[rows] for name, array in self.targets.items()}
        ngrams = None if self.ngrams is None else self.ngrams.rows(rows)
        return Batch(self.ids[rows], self.lengths[rows], targets, shard, self.masks, ngrams, self.noise)

    def rows(self, chosen: np.ndarray) -> Batch:
        """Return the chosen rows for a prediction, of unchanged width: no shard, mask or noise."""
        targets = {name: array[chosen] for name, array in self.targets.items()}
        ngrams = None if self.ngrams is None else self.ngrams.rows(chosen)
        return Batch(self.ids[chosen], self.lengths[chosen], targets, ngrams=ngrams)

    @property
    def labels(self) -> np.ndarray:
        """Labels [B] int64 of a classifier's batch."""
        return self.targets["label"]

    @property
    def tokens(self) -> int:
        """Number of real tokens, without padding."""
        return int(self.lengths.sum())


def noise_of(batch: Batch) -> Noise:
    """Return the noise words of a batch. Raises TypeError without any."""
    if batch.noise is None:
        raise TypeError("got a batch without noise words, expected one of a training step")
    return batch.noise


def pad(
    sequences: list[np.ndarray], targets: dict[str, np.ndarray], ngrams: Callable[[int], NgramBatch] | None = None
) -> Batch:
    """Pad id sequences to the longest one; `ngrams(width)` returns their n-grams.

    Raises UserError for an empty sequence or an empty list.
    """
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    if len(lengths) == 0:
        raise UserError("a batch needs at least one text, got none")
    if lengths.min() == 0:
        raise UserError(f"text {int(lengths.argmin()) + 1} has no tokens: every text needs at least one token")
    return Batch(padded(sequences), lengths, targets, ngrams=None if ngrams is None else ngrams(int(lengths.max())))


def padded(sequences: list[np.ndarray]) -> np.ndarray:
    """Pad integer sequences on the right with PAD (0) to the longest one, [B, L] int64."""
    found = np.full((len(sequences), max(map(len, sequences))), PAD, dtype=np.int64)
    for row, sequence in enumerate(sequences):
        found[row, : len(sequence)] = sequence
    return found


@dataclass(frozen=True)
class Windows:
    """Windows of `width` consecutive real tokens, at least one per sequence.

    A sequence shorter than `width` has one window, at its start. Windows of width 1 are the real tokens.
    """

    batch: Batch
    width: int = 1

    @cached_property
    def counts(self) -> np.ndarray:
        """Number of windows per sequence, [B, 1] int64."""
        return np.maximum(self.batch.lengths - self.width + 1, 1)[:, None]

    @cached_property
    def mask(self) -> np.ndarray:
        """Start positions, [B, L, 1] bool: True where a window starts."""
        return (np.arange(self.batch.ids.shape[1]) < self.counts)[:, :, None]


def real_mask(batch: Batch) -> np.ndarray:
    """Return [B, L] bool: True for a real token, False for padding."""
    return Windows(batch).mask[:, :, 0]


def reversal_index(batch: Batch) -> np.ndarray:
    """Return [B * L] int64: rows of a flattened [B * L, D] that reverse every sequence.

    Sequences are reversed within their lengths. Padding keeps its position, so the index is a permutation and its own
    inverse.
    """
    rows, width = batch.ids.shape
    time = np.arange(width)[None, :]
    lengths = batch.lengths[:, None]
    within = np.where(time < lengths, lengths - 1 - time, time)
    return (np.arange(rows)[:, None] * width + within).reshape(-1)


def packing(batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the indices of PyTorch's packed-sequence layout: `order`, `sizes`, `place`.

    Tokens are ordered by time step, within a time step by sequence length, longest first. `order` [B] int64: rows,
    longest first. `sizes` [longest] int64: number of sequences that have a token at each time step. `place` [tokens]
    int64: row of every token in a flattened [B * L, D].
    """
    order = np.argsort(-batch.lengths, kind="stable")
    lengths = batch.lengths[order]
    time = np.arange(lengths[0])[:, None]
    real = time < lengths
    return order, real.sum(axis=1), (order * batch.ids.shape[1] + time)[real]


def last_index(batch: Batch) -> np.ndarray:
    """Return [B] int64: row of each sequence's last real token in a flattened [B * L, D]."""
    return np.arange(len(batch.lengths)) * batch.ids.shape[1] + batch.lengths - 1


def first_index(batch: Batch) -> np.ndarray:
    """Return [B] int64: row of each sequence's first token in a flattened [B * L, D]."""
    return np.arange(len(batch.lengths)) * batch.ids.shape[1]
