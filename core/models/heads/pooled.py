"""Classification head: one class per text, by cross-entropy."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import model_validator

from core.batch import Batch, Ragged, Targets
from core.errors import UserError
from core.models.heads.pooling import PoolingHead
from core.models.heads.scores import ClassEvaluation, probabilities_of, summarize
from core.models.types import Arrays


class PooledHead(PoolingHead):
    """Sequence classification: pooling over real tokens, then a linear layer to logits."""

    targets: ClassVar[tuple[str, ...]] = ("label",)

    kind: Literal["pooled"] = "pooled"
    one_logit: bool = False
    """Use one logit with binary cross-entropy instead of two with cross-entropy.

    Two classes only.
    """

    @model_validator(mode="after")
    def _one_logit_is_binary(self):
        if self.one_logit and self.classes != 2:
            raise ValueError(f"one_logit needs classes = 2, got {self.classes}: set one_logit false, or classes 2")
        return self

    def check_targets(self, targets: Targets, lengths: np.ndarray) -> None:
        check_range("labels", array_of(targets, "label"), self.classes)

    @property
    def outputs(self) -> int:
        return 1 if self.one_logit else self.classes

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        return probabilities_of(logits)

    def counted(self, batch: Batch) -> int:
        """Return the number of texts with a label; those without, of number -1, have no loss."""
        return int((batch.targets["label"] >= 0).sum())

    def answers(self, targets: Targets, lengths: np.ndarray) -> np.ndarray:
        return np.ones(len(lengths), np.int64)

    def losses(self, outputs: Arrays, batch: Batch, class_weights: np.ndarray | None = None) -> np.ndarray:
        return cross_entropies(outputs["logits"], batch.targets["label"], class_weights)

    def outcomes(self, logits: np.ndarray, batch: Batch, arrays: Arrays) -> np.ndarray:
        """Return the logits [B, outputs]."""
        return logits

    def score(self, outcomes: np.ndarray, targets: Targets, classes: tuple[str, ...] = ()) -> ClassEvaluation:
        return summarize(outcomes, array_of(targets, "label"))

    def random_targets(self, rng: np.random.Generator, lengths: np.ndarray) -> dict[str, np.ndarray]:
        return {"label": rng.integers(0, self.classes, len(lengths))}

    def constant_targets(self, batch: Batch, index: int) -> dict[str, np.ndarray]:
        return {**batch.targets, "label": np.full_like(batch.targets["label"], index)}


def array_of(targets: Targets, name: str) -> np.ndarray:
    """Return a target with one entry per text. Raises TypeError for sequences."""
    found = targets[name]
    if isinstance(found, Ragged):
        raise TypeError(f"{name}: got a sequence per text, expected one entry")
    return found


def check_range(what: str, values: np.ndarray, classes: int) -> None:
    """Raise UserError for class numbers outside 0..classes - 1."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= classes:
        raise UserError(f"expected {what} in 0..{classes - 1}, got {low}..{high}: correct them, or set head.classes")


def cross_entropies(logits: np.ndarray, labels: np.ndarray, class_weights: np.ndarray | None = None) -> np.ndarray:
    """Return [B]: cross-entropies of logits [B, C], binary ones of a single logit [B, 1].

    `class_weights` [C] multiply the losses by class. The loss of a text without a label, -1, is 0.
    """
    known, labels = labels >= 0, np.maximum(labels, 0)
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    shifted = logits - np.real(logits).max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    return losses * (known if class_weights is None else known * class_weights[labels])


def cross_entropy(
    logits: np.ndarray, labels: np.ndarray, reduction: str, class_weights: np.ndarray | None = None
) -> np.ndarray:
    """Reduce `cross_entropies` to a scalar.

    The mean divides by B, not by the sum of weights as in both frameworks. The weight of a text thus does not depend on
    the other texts of its batch, and losses of shards can be summed.
    """
    losses = cross_entropies(logits, labels, class_weights)
    return losses.mean() if reduction == "mean" else losses.sum()
