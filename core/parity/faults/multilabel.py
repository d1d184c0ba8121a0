"""Faults of multi-label heads: the loss of independent labels."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from core.parity.faults.fault import Fault, Patches

MULTILABEL = {"model.head": {"kind": "multilabel", "classes": 2, "dropout": 0.5}}


def _losses(change: Callable) -> Callable[[ModuleType], Patches]:
    """Return a fault that replaces `losses` by `change(original, outputs, inputs)`."""

    def plant(side: ModuleType) -> Patches:
        head = side.heads.multilabel.MultilabelHead
        original = head.losses

        def losses(self, outputs, inputs, weights):
            return change(lambda logits: original(self, {"logits": logits}, inputs, weights), outputs["logits"], inputs)

        return [(head, "losses", losses)]

    return plant


def _softmax(original, logits, inputs):
    """Return the losses of labels that exclude one another: a softmax over the labels, as for one class per text."""
    terms = (logits - logits.detach().max()).exp()
    shares = terms / terms.sum(axis=1).reshape((-1, 1))
    return original((shares + 1e-12).log() - (1.0 - shares + 1e-12).log())


def _twice(original, logits, inputs):
    return original(1.0 / (1.0 + (-logits).exp()))


def _sum(original, logits, inputs):
    return original(logits) * logits.shape[1]


FAULTS = {
    "softmax-of-labels": Fault(
        "the labels of a text share a softmax, instead of a sigmoid each",
        2,
        "loss",
        _losses(_softmax),
        MULTILABEL,
    ),
    "sigmoid-twice": Fault(
        "the loss takes the sigmoid of probabilities, not of logits", 2, "loss", _losses(_twice), MULTILABEL
    ),
    "sum-over-labels": Fault(
        "the loss of a text is the sum over its labels, not the mean", 2, "loss", _losses(_sum), MULTILABEL
    ),
}
