"""Metrics of a multi-label classifier from its logits, in NumPy float64, shared by all backends."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from core.batch import Targets
from core.label_sets import join_labels
from core.models.heads.scores import ClassScores, Evaluation


@dataclass(frozen=True)
class MultilabelEvaluation(Evaluation):
    """Metrics of a multi-label classifier.

    `accuracy` is the share of texts whose labels are all correct (exact match); `probabilities` [N, C] are those of the
    labels, and `predicted` [N, C] is 1 for a predicted label and 0 for others.
    """

    names: tuple[str, ...]
    """Names [C] of the labels; numbers if they are unknown."""
    threshold: float
    counts: np.ndarray
    """Numbers [3, C] of texts that have a label, that are predicted to have it, and of which both is true."""
    log_shares: np.ndarray
    """Logarithms [N, 2] of the probabilities of the true and of the predicted set of labels."""

    @property
    def score(self) -> float:
        """Micro F1."""
        return self.micro_f1

    @cached_property
    def precision(self) -> float:
        """Share of the predicted labels that are true, over all texts and labels."""
        return _ratio(self.counts[2].sum(), self.counts[1].sum())

    @cached_property
    def recall(self) -> float:
        """Share of the true labels that are predicted, over all texts and labels."""
        return _ratio(self.counts[2].sum(), self.counts[0].sum())

    @cached_property
    def micro_f1(self) -> float:
        """F1 over the labels of all texts together; 0 if there is none."""
        return _ratio(2 * self.counts[2].sum(), self.counts[:2].sum())

    @cached_property
    def macro_f1(self) -> float:
        """Mean F1 of the labels that occur as true or predicted ones; 0 if there is none."""
        occurs = self.counts[:2].sum(axis=0) > 0
        scores = 2 * self.counts[2, occurs] / self.counts[:2, occurs].sum(axis=0)
        return float(scores.mean()) if occurs.any() else 0.0

    @property
    def margins(self) -> np.ndarray:
        """Distance [N] of the probability that is nearest to the threshold."""
        return np.abs(self.probabilities - self.threshold).min(axis=1)

    def per_label(self) -> list[ClassScores]:
        """Return precision, recall, F1 and the number of texts of every label; a ratio of nothing is 0."""
        return [
            {
                "precision": _ratio(both, predicted),
                "recall": _ratio(both, true),
                "f1": _ratio(2 * both, true + predicted),
                "count": int(true),
            }
            for true, predicted, both in self.counts.T
        ]

    def figures(self) -> dict[str, Any]:
        return {
            **super().figures(),
            "micro_f1": self.micro_f1,
            "macro_f1": self.macro_f1,
            "precision": self.precision,
            "recall": self.recall,
            "per_class": self.per_label(),
        }

    def quantities(self) -> dict[str, float]:
        return {"micro_f1": self.micro_f1, "macro_f1": self.macro_f1}

    def strings(self, targets: Targets, classes: tuple[str, ...]) -> tuple[list[str], list[str]]:
        """Return the true and the predicted labels of every text, joined."""
        return (
            [join_labels(row, classes) for row in np.asarray(targets["labels"])],
            [join_labels(row, classes) for row in self.predicted],
        )

    def describe(self) -> str:
        return (
            f"micro F1 {self.micro_f1:.4f}  macro F1 {self.macro_f1:.4f}  exact match {self.accuracy:.4f}"
            f"  loss {self.loss:.6f}"
        )


def label_probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities [N, C] float64 of the labels: sigmoids of logits [N, C]."""
    logits = logits.astype(np.float64)
    small = np.exp(-np.abs(logits))
    return np.where(logits > 0, 1.0, small) / (1.0 + small)


def score_labels(
    logits: np.ndarray, labels: np.ndarray, threshold: float, classes: tuple[str, ...] = ()
) -> MultilabelEvaluation:
    """Compute metrics from logits and labels [N, C]. A probability equal to the threshold predicts no label."""
    exact = logits.astype(np.float64)
    probabilities = label_probabilities(exact)
    predicted = (probabilities > threshold).astype(np.int64)
    shares = [_log_shares(exact, rows) for rows in (labels, predicted)]
    return MultilabelEvaluation(
        loss=float(-shares[0].mean()),
        accuracy=float((predicted == labels).all(axis=1).mean()),
        probabilities=probabilities,
        predicted=predicted,
        names=classes or tuple(map(str, range(labels.shape[1]))),
        threshold=threshold,
        counts=np.stack([labels.sum(axis=0), predicted.sum(axis=0), (labels * predicted).sum(axis=0)]),
        log_shares=np.stack([own.sum(axis=1) for own in shares], axis=1),
    )


def _log_shares(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the logarithms of the probabilities of `labels` being as they are, [N, C]."""
    signed = np.where(labels > 0, logits, -logits)
    return np.minimum(signed, 0.0) - np.log1p(np.exp(-np.abs(signed)))


def _ratio(part: int | np.integer, whole: int | np.integer) -> float:
    return float(part) / float(whole) if whole else 0.0
