"""Encoded data sets, their batches, and the example order of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from core.batch import PAD, Batch, Ragged, Targets, pad
from core.data.ngrams.features import NgramFeatures
from core.data.ngrams.texts import LabeledTexts, Texts
from core.data.vocabulary import Vocabulary
from core.errors import UserError
from core.models.model import Model
from core.rng import generator
from core.spec.training import Training


@dataclass(frozen=True)
class Dataset:
    """Concatenated encoded, truncated sequences.

    Sequence n is `tokens[offsets[n]:offsets[n + 1]]`. `tokens` [total] int32; `offsets` [N + 1] int64; `targets`:
    arrays of N rows by name (for a classifier `label` [N] int64), or sequences (`Ragged`); `names`: N identifiers for
    predictions.csv; `classes`: names of the classes, tags or output tokens, () if unknown; `ngrams`: for a model with
    n-grams, otherwise None.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    targets: Targets
    names: list[str]
    classes: tuple[str, ...] = ()
    ngrams: NgramFeatures | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def labels(self) -> np.ndarray:
        """Labels [N] int64 of a classifier's data."""
        labels = self.targets["label"]
        if isinstance(labels, Ragged):
            raise TypeError("got a sequence of labels per text, expected one label per text")
        return labels

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def batch(self, rows: np.ndarray) -> Batch:
        """Return the sequences `rows`, in that order, as one padded batch."""
        sequences = [self.tokens[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        targets = {
            name: own.padded(rows) if isinstance(own, Ragged) else own[rows] for name, own in self.targets.items()
        }
        own = self.ngrams
        return pad(sequences, targets, own and (lambda width: own.batch(rows, self.offsets, width)))

    def first(self, most: int) -> Dataset:
        """Return the first `most` texts, or all if there are fewer."""
        size = min(most, len(self))
        end = self.offsets[size]
        targets = {
            name: own.first(size) if isinstance(own, Ragged) else own[:size] for name, own in self.targets.items()
        }
        ngrams = None if self.ngrams is None else self.ngrams.first(size, int(end))
        return Dataset(self.tokens[:end], self.offsets[: size + 1], targets, self.names[:size], self.classes, ngrams)


@dataclass(frozen=True)
class Prepared:
    """Prepared data: vocabulary of the training split, three encoded sets, class names, summary.

    `summary` is JSON: `dev_split`, `test_split`, `vocabulary`, `left_out` (skipped texts by reason) and for `train`,
    `dev`, `test`: `documents`, `per_class` (documents by class), `tokens` (after truncation), `mean_length` and
    `max_length` (before), `truncated` (number of texts) and `unknown_share`, the share of kept tokens that are UNK.
    """

    vocabulary: Vocabulary
    train: Dataset
    dev: Dataset
    test: Dataset
    classes: list[str]
    summary: dict
    target_vocabulary: Vocabulary | None = None
    """Vocabulary of the targets of a decoder."""
    more: dict[str, Dataset] = field(default_factory=dict)
    """Additional test sets by name."""
    whole: Callable[[str], LabeledTexts] | None = None
    """Returns the complete texts of a split, which n-grams are formed of; None for data other than labeled texts."""
    digests: dict[str, np.ndarray] = field(default_factory=dict)
    """Digests of the texts by split, [N] uint64, of labeled texts."""
    unlabeled: Dataset | None = None
    """Texts without a label, for `training.unlabeled_batch_size`."""
    unlabeled_texts: Texts | None = None
    """The same, complete."""

    def split(self, name: str) -> Dataset:
        """Return a data set by its name. Raises UserError for an unknown one."""
        sets = {"test": self.test, "dev": self.dev, "train": self.train, **self.more}
        if name not in sets:
            raise UserError(f"`split` {name}: choose one of {', '.join(sets)}")
        return sets[name]


def check_dataset(dataset: Dataset, model: Model) -> None:
    """Check that ids, lengths and targets are in range, once per data set. Raises UserError.

    Paddle does not check ids when `padding_idx` is set. A real token is never PAD, so ids lie in 1..vocab_size - 1.
    """
    check_texts(dataset, model)
    model.head.check_targets(dataset.targets, dataset.lengths)


def check_texts(dataset: Dataset, model: Model) -> None:
    """Check ids and lengths of a data set, whose texts may have no label. Raises UserError."""
    if len(dataset) == 0:
        raise UserError("the data set is empty: give at least one text")
    if dataset.lengths.min() < 1:
        raise UserError(
            f"{dataset.names[int(dataset.lengths.argmin())]}: no tokens: every text needs at least one token"
        )
    low, high = int(dataset.tokens.min()), int(dataset.tokens.max())
    vocab_size = model.embedding.vocab_size
    if low <= PAD or high >= vocab_size:
        raise UserError(
            f"expected token ids in 1..{vocab_size - 1}, got {low}..{high}: encode with the model's vocabulary"
        )


def epoch_order(lengths: np.ndarray, training: Training, epoch: int) -> list[np.ndarray]:
    """Return the row numbers of every batch of an epoch; random numbers depend on (seed, epoch) alone.

    Each row occurs once. Rows are shuffled, divided into buckets of `bucket_batches` batches, sorted by length within a
    bucket (ties stay shuffled), divided into batches, and the batches are shuffled. The last batch of a bucket may be
    smaller. `bucket_batches` 0 or 1 gives a plain shuffle. Without `shuffle`, batches follow the order of the data.
    """
    batch_size, bucket_batches = training.batch_size, training.bucket_batches
    rng = generator(training.seed, "order", epoch)
    order = rng.permutation(len(lengths)) if training.shuffle else np.arange(len(lengths))
    if bucket_batches > 1:
        span = bucket_batches * batch_size
        buckets = [order[start : start + span] for start in range(0, len(order), span)]
        order = np.concatenate([bucket[np.argsort(lengths[bucket], kind="stable")] for bucket in buckets])
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if bucket_batches > 1:
        batches = [batches[index] for index in rng.permutation(len(batches))]
    return batches


def evaluation_batches(dataset: Dataset, batch_size: int) -> Iterator[tuple[np.ndarray, Batch]]:
    """Yield batches with their row numbers, longest sequences first to minimize padding."""
    order = np.argsort(-dataset.lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        yield rows, dataset.batch(rows)
