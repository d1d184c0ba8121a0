"""The n-grams of a data set, and of its batches."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from core.batch import NgramBatch
from core.models.ngrams import Ngrams, columns_of


@dataclass(frozen=True)
class NgramFeatures:
    """What a network reads of the n-grams of a data set with N texts and `total` tokens.

    `logits` [N, K] float32 of the linear models. `numbers` [total, orders] int32: the n-grams of tokens that end at
    each token, negative if unknown; None without `Ngrams.inputs`. `counts` [F, C] and `per_class` [C] float32: training
    texts with each n-gram, and of each class. `labels` [N]: classes of training texts, which are not counted for
    themselves; None for other texts.
    """

    spec: Ngrams
    logits: np.ndarray
    numbers: np.ndarray | None
    counts: np.ndarray
    per_class: np.ndarray
    labels: np.ndarray | None = None

    def batch(self, rows: np.ndarray, offsets: np.ndarray, width: int) -> NgramBatch:
        """Return the texts `rows`, padded to `width`; text n has the tokens `offsets[n]:offsets[n + 1]`."""
        logits = self.logits[rows]
        if self.numbers is None:
            return NgramBatch(logits, np.zeros((len(rows), width, 0), np.float32))
        lengths = offsets[rows + 1] - offsets[rows]
        real = np.arange(width) < lengths[:, None]
        places = (offsets[rows][:, None] + np.arange(width))[real]
        labels = None if self.labels is None else np.repeat(self.labels[rows], lengths)
        found = self._values(self.numbers[places], labels)
        values = np.zeros((len(rows), width, found.shape[1]), np.float32)
        values[real] = found
        return NgramBatch(logits, values)

    def first(self, texts: int, tokens: int) -> NgramFeatures:
        """Return those of the first `texts` texts, which have `tokens` tokens."""
        numbers = None if self.numbers is None else self.numbers[:tokens]
        labels = None if self.labels is None else self.labels[:texts]
        return replace(self, logits=self.logits[:texts], numbers=numbers, labels=labels)

    def _values(self, numbers: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        """Return the values [T, orders * K] of n-grams [T, orders], of texts with these labels [T]."""
        known, classes = numbers >= 0, len(self.per_class)
        counts = self.counts[np.where(known, numbers, 0)]  # [T, orders, C]
        if labels is not None:
            counts = counts - (np.arange(classes) == labels[:, None])[:, None, :] * known[:, :, None]
        own = counts[:, :, 1:] if columns_of(classes) == 1 else counts
        all_own = self.per_class[1:] if columns_of(classes) == 1 else self.per_class
        others = counts.sum(axis=2, keepdims=True) - own
        prior = np.log(all_own / (self.per_class.sum() - all_own))
        ratio = np.log((own + 1.0) / (others + 1.0)) - prior
        values = self.spec.input_scale * np.clip(ratio, -self.spec.input_limit, self.spec.input_limit)
        return np.where(known[:, :, None], values, 0.0).reshape(len(numbers), -1).astype(np.float32)
