"""Encoded data sets, the batches taken from them, and the order of examples: a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from core.batch import PAD, Batch, pad
from core.data.vocabulary import Vocabulary
from core.errors import UserError
from core.models.model import Model
from core.rng import generator


@dataclass(frozen=True)
class Dataset:
    """Encoded, truncated sequences end to end: sequence n is `tokens[offsets[n]:offsets[n + 1]]`.

    `tokens` [total] int32, `offsets` [N + 1] int64, `targets` by name, arrays of N rows (of a classifier `label` [N]
    int64), `names` N identifiers for predictions.csv.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    targets: dict[str, np.ndarray]
    names: list[str]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def labels(self) -> np.ndarray:
        """[N] int64, of a classifier's data."""
        return self.targets["label"]

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def batch(self, rows: np.ndarray) -> Batch:
        """The sequences `rows`, in that order, as one padded batch."""
        sequences = [self.tokens[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        return pad(sequences, {name: array[rows] for name, array in self.targets.items()})


@dataclass(frozen=True)
class Prepared:
    """What training needs: the vocabulary of the train part, three encoded sets, the classes' names by number, and
    figures for the record.

    `summary` is JSON: `dev_split`, `test_split`, `vocabulary`, `left_out` (texts, by reason) and for `train`, `dev`,
    `test` the `documents`, how many `per_class`, `tokens` (after truncation), `mean_length` and `max_length` (before),
    `truncated` texts and `unknown_share`, the share of kept tokens that are UNK.
    """

    vocabulary: Vocabulary
    train: Dataset
    dev: Dataset
    test: Dataset
    classes: list[str]
    summary: dict


def check_dataset(dataset: Dataset, model: Model) -> None:
    """Refuse ids, lengths and targets out of range, once per data set: Paddle does not when `padding_idx` is set.

    Raises UserError. A real token is never PAD, so ids lie in 1..vocab_size - 1.
    """
    if len(dataset) == 0:
        raise UserError("the data set is empty: there must be at least one text")
    if dataset.lengths.min() < 1:
        raise UserError(f"{dataset.names[int(dataset.lengths.argmin())]}: has no tokens; every text needs at least one")
    low, high = int(dataset.tokens.min()), int(dataset.tokens.max())
    vocab_size = model.embedding.vocab_size
    if low <= PAD or high >= vocab_size:
        raise UserError(f"token ids must lie in 1..{vocab_size - 1}, found {low}..{high}")
    model.head.check_targets(dataset.targets)


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
