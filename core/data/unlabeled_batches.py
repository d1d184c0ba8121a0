"""Batches of labeled texts that unlabeled ones join (`training.unlabeled_batch_size`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from core.data.dataset import Dataset
from core.data.ngrams.features import NgramFeatures
from core.data.unlabeled_texts import NONE
from core.rng import generator
from core.spec.training import Training


def unlabeled_order(
    lengths: np.ndarray, batches: list[np.ndarray], texts: np.ndarray, training: Training, epoch: int
) -> list[np.ndarray]:
    """Return the rows of the unlabeled texts that join every batch of an epoch.

    `lengths` [N] are those of the labeled texts, `batches` their rows; `texts` [U] the lengths of the unlabeled ones.
    These follow one another through the epochs, in a new random order of (seed, round) each time all have been read.
    With buckets, long texts join long ones, so that there is little padding.
    """
    size = training.unlabeled_batch_size
    needed = size * len(batches)
    first = epoch * needed
    rounds = range(first // len(texts), (first + needed - 1) // len(texts) + 1)
    order = np.concatenate([generator(training.seed, "unlabeled", number).permutation(len(texts)) for number in rounds])
    start = first - rounds[0] * len(texts)
    chosen = order[start : start + needed]
    if training.bucket_batches <= 1:
        return list(chosen.reshape(len(batches), size))
    groups = chosen[np.argsort(texts[chosen], kind="stable")].reshape(len(batches), size)
    longest = np.argsort([lengths[rows].mean() for rows in batches], kind="stable")
    return [groups[place] for place in np.argsort(longest, kind="stable")]


def joined(train: Dataset, unlabeled: Dataset) -> Dataset:
    """Return the labeled texts followed by the unlabeled ones, whose label is `NONE`."""
    offsets = np.concatenate((train.offsets, unlabeled.offsets[1:] + train.offsets[-1]))
    labels = np.concatenate((train.labels, np.full(len(unlabeled), NONE, np.int64)))
    return Dataset(
        np.concatenate((train.tokens, unlabeled.tokens)),
        offsets,
        {"label": labels},
        train.names + unlabeled.names,
        train.classes,
        None if train.ngrams is None else _joined_ngrams(train.ngrams, unlabeled.ngrams, labels),
    )


def _joined_ngrams(train: NgramFeatures, unlabeled: NgramFeatures | None, labels: np.ndarray) -> NgramFeatures:
    """Return the n-grams of both; the label of an unlabeled text is of no class, so nothing of it is subtracted."""
    if unlabeled is None:
        raise TypeError("got labeled texts with n-grams and unlabeled ones without, expected both with them")
    numbers = None
    if train.numbers is not None and unlabeled.numbers is not None:
        numbers = np.concatenate((train.numbers, unlabeled.numbers))
    return replace(train, logits=np.concatenate((train.logits, unlabeled.logits)), numbers=numbers, labels=labels)
