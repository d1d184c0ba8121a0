"""Faults of models that read n-grams."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import numpy as np

from core.batch import Batch, real_mask
from core.parity.faults.fault import Fault, Patches


def _other_class(side: ModuleType) -> Patches:
    original = side.runtime.spread
    return [(side.runtime, "spread", lambda logits, outputs: np.roll(original(logits, outputs), 1, axis=1))]


def _fixed_scale(side: ModuleType) -> Patches:
    own = side.ngrams.Ngrams
    original = own.add

    def add(self, logits, inputs):
        added = original(self, logits, inputs) - logits
        # Zero times the logits: without any gradient, the backend would have nothing to compare.
        return logits + added.detach() + added * 0.0

    return [(own, "add", add)]


def _values(side: ModuleType, change: Callable[[np.ndarray, Batch], np.ndarray]) -> Patches:
    """Let a backend read the values of n-grams as `change(values, batch)`."""
    original = side.runtime.ngrams_of

    def ngrams_of(batch: Batch):
        found = original(batch)
        return dataclasses.replace(found, values=np.ascontiguousarray(change(found.values, batch)))

    return [(side.runtime, "ngrams_of", ngrams_of)]


def _at_padding(side: ModuleType) -> Patches:
    return _values(side, lambda values, batch: values + 0.1 * ~real_mask(batch)[:, :, None])


def _other_order(side: ModuleType) -> Patches:
    return _values(side, lambda values, batch: np.roll(values, 1, axis=2))


def _before_dropout(side: ModuleType) -> Patches:
    embedding, own = side.embedding.Embedding, side.ngrams.Ngrams
    look_up, original, seen = embedding.forward, own.join, {}

    def forward(self, inputs, dropout):
        seen["dropout"] = dropout
        return look_up(self, inputs, dropout)

    def join(self, x, inputs):
        kept = seen["dropout"](x * 0.0 + 1.0, "embedding", RATE)[:, :, :1]
        return original(self, x, SimpleNamespace(ngram_values=inputs.ngram_values * kept))

    return [(embedding, "forward", forward), (own, "join", join)]


RATE = 0.5
NEEDS = {"model.ngrams": {"passes": 2}}

FAULTS = {
    "ngram-logits-of-other-class": Fault(
        "the logits of n-grams are added to those of another class", 1, "logits", _other_class, NEEDS
    ),
    "ngram-values-at-padding": Fault("the values of n-grams are not 0 at padding", 1, "embedding", _at_padding, NEEDS),
    "ngram-values-of-other-n": Fault(
        "the values of n-grams are in another order of n", 1, "embedding", _other_order, NEEDS
    ),
    "ngrams-before-dropout": Fault(
        "the values of n-grams are joined before dropout, which drops them, too",
        1,
        "embedding (with dropout)",
        _before_dropout,
        {**NEEDS, "model.embedding.dropout": RATE},
    ),
    "ngram-scale-not-trained": Fault(
        "the factor of the logits of n-grams gets no gradient", 2, "head.ngram_scale", _fixed_scale, NEEDS
    ),
}
