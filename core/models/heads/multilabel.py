"""Multi-label classification head: any number of labels per text, by one sigmoid per label."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from core.batch import Batch, Targets
from core.errors import UserError
from core.models.heads.multilabel_scores import MultilabelEvaluation, label_probabilities, score_labels
from core.models.heads.pooled import array_of
from core.models.heads.pooling import PoolingHead
from core.models.types import Arrays

LABELS = "labels"
"""Name of the targets: [B, C] int64, 1 for a label that the text has and 0 for others."""


class MultilabelHead(PoolingHead):
    """Multi-label classification: pooling over real tokens, then a linear layer to one logit per label."""

    targets: ClassVar[tuple[str, ...]] = (LABELS,)

    kind: Literal["multilabel"] = "multilabel"
    threshold: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """Probability above which a label is predicted, the same for all labels."""

    def check_targets(self, targets: Targets, lengths: np.ndarray) -> None:
        labels = array_of(targets, LABELS)
        if labels.shape != (len(lengths), self.classes):
            raise UserError(f"got labels of shape {list(labels.shape)}, expected [{len(lengths)}, {self.classes}]")
        if not np.isin(labels, (0, 1)).all():
            raise UserError(f"expected labels of 0 and 1, got {labels.min()}..{labels.max()}: correct them")

    @property
    def outputs(self) -> int:
        return self.classes

    @property
    def least_logit(self) -> float:
        """Return the logit of `threshold`, above which a label is predicted."""
        return math.log(self.threshold / (1.0 - self.threshold))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        return label_probabilities(logits)

    def counted(self, batch: Batch) -> int:
        """Return the number of texts: the loss of a text is the mean over its labels."""
        return len(batch.lengths)

    def answers(self, targets: Targets, lengths: np.ndarray) -> np.ndarray:
        return np.ones(len(lengths), np.int64)

    def losses(self, outputs: Arrays, batch: Batch, class_weights: np.ndarray | None = None) -> np.ndarray:
        """Return the means over the labels of the binary cross-entropies, [B].

        So the loss has the same scale for any number of labels. Raises ValueError for class weights, which such a
        model does not have.
        """
        if class_weights is not None:
            raise ValueError("got class weights, expected none: labels are no classes that exclude each other")
        return binary_cross_entropies(outputs["logits"], batch.targets[LABELS]).mean(axis=1)

    def outcomes(self, logits: np.ndarray, batch: Batch, arrays: Arrays) -> np.ndarray:
        """Return the logits [B, C]."""
        return logits

    def score(self, outcomes: np.ndarray, targets: Targets, classes: tuple[str, ...] = ()) -> MultilabelEvaluation:
        return score_labels(outcomes, array_of(targets, LABELS), self.threshold, classes)

    def random_targets(self, rng: np.random.Generator, lengths: np.ndarray) -> dict[str, np.ndarray]:
        return {LABELS: rng.integers(0, 2, (len(lengths), self.classes))}

    def constant_targets(self, batch: Batch, index: int) -> dict[str, np.ndarray]:
        """Return targets of a batch whose texts all have the label `index` alone."""
        labels = np.zeros_like(batch.targets[LABELS])
        labels[:, index] = 1
        return {**batch.targets, LABELS: labels}

    def describe(self) -> str:
        return f"{super().describe()}, {self.classes} labels of probability above {self.threshold:g}"


def binary_cross_entropies(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the binary cross-entropies of logits and labels of 0 and 1, both [B, C]. Supports complex steps.

    max(z, 0) - z y + log(1 + exp(-|z|)), which neither overflows nor cancels.
    """
    positive = np.real(logits) > 0
    size = np.where(positive, logits, -logits)
    return np.where(positive, logits, 0.0) - logits * labels + np.log1p(np.exp(-size))
