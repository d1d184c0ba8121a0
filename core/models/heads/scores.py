"""Metrics of a classifier from its logits, in NumPy float64, shared by all backends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from core.batch import Targets
from core.statistics import wilson_interval


@dataclass(frozen=True)
class Evaluation:
    """Metrics and predictions of a data set; a head may add its own.

    `loss` (mean cross-entropy), `accuracy`, `probabilities` [N, C] and `predicted` [N] of all N predictions, in the
    order of the data set.
    """

    loss: float
    accuracy: float
    probabilities: np.ndarray
    predicted: np.ndarray

    @property
    def score(self) -> float:
        """Criterion of the best checkpoint, from 0 to 1, higher is better; the loss breaks ties."""
        return self.accuracy

    @property
    def margins(self) -> np.ndarray:
        """Difference of the two largest probabilities of every prediction, [N]."""
        top = np.sort(self.probabilities, axis=1)
        return top[:, -1] - top[:, -2]

    def figures(self) -> dict[str, Any]:
        """Return the metrics for `result.json`."""
        return {"accuracy": self.accuracy, "loss": self.loss}

    def quantities(self) -> dict[str, float]:
        """Return the metrics that a line of `metrics.jsonl` has besides loss and accuracy."""
        return {}

    def strings(self, targets: Targets, classes: tuple[str, ...]) -> tuple[list[str], list[str]]:
        """Return the expected and the predicted answer of every text, with the names of the classes."""
        raise NotImplementedError

    def details(self) -> list[str]:
        """Return further lines about the metrics, such as a breakdown."""
        return []

    def describe(self) -> str:
        """Return the metrics in one line."""
        return f"accuracy {self.accuracy:.4f}  loss {self.loss:.6f}"


@dataclass(frozen=True)
class ClassEvaluation(Evaluation):
    """Metrics of a classifier of texts or tokens.

    `macro_f1`: mean over the classes that occur as labels or predictions; `confusion` [C, C], rows: true class.
    """

    macro_f1: float
    confusion: np.ndarray

    def figures(self) -> dict[str, Any]:
        return {**super().figures(), "macro_f1": self.macro_f1, "confusion": self.confusion.tolist()}

    def strings(self, targets: Targets, classes: tuple[str, ...]) -> tuple[list[str], list[str]]:
        labels = targets["label"]
        return [classes[index] for index in labels], [classes[index] for index in self.predicted]

    def describe(self) -> str:
        return f"{super().describe()}  macro F1 {self.macro_f1:.4f}"


ClassScores = dict[str, float | int]
"""Precision, recall and F1 of a class, and the `count` of its texts or tokens; a ratio of nothing is 0."""


@dataclass(frozen=True)
class TextEvaluation(ClassEvaluation):
    """Metrics of a classifier of texts."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy."""
        return wilson_interval(int(np.trace(self.confusion)), int(self.confusion.sum()))

    def figures(self) -> dict[str, Any]:
        return {**super().figures(), "interval": list(self.interval), "per_class": scores_by_class(self.confusion)}

    def describe(self) -> str:
        low, high = self.interval
        return f"{super().describe()}  95 % interval of accuracy {low:.4f} to {high:.4f}"


def probabilities_of(logits: np.ndarray) -> np.ndarray:
    """Return probabilities [N, C] float64 of logits [N, C], or [N, 1] (logit of class 1 of two)."""
    return np.exp(_log_probabilities(logits))


def _log_probabilities(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def scores_by_class(confusion: np.ndarray) -> list[ClassScores]:
    """Return the scores of every class of a confusion matrix [C, C], rows: true class."""
    hits, true, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    return [
        {
            "precision": float(hits[number] / max(predicted[number], 1)),
            "recall": float(hits[number] / max(true[number], 1)),
            "f1": float(2 * hits[number] / max(true[number] + predicted[number], 1)),
            "count": int(true[number]),
        }
        for number in range(len(confusion))
    ]


def summarize(logits: np.ndarray, labels: np.ndarray) -> TextEvaluation:
    """Compute metrics from logits [N, outputs] and labels [N]. Ties predict the lower class."""
    log_probabilities = _log_probabilities(logits)
    classes = log_probabilities.shape[1]
    predicted = log_probabilities.argmax(axis=1)
    confusion = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    hits, occurrences = np.diag(confusion), confusion.sum(axis=1) + confusion.sum(axis=0)
    occur = occurrences > 0
    f1 = 2 * hits[occur] / occurrences[occur]
    return TextEvaluation(
        loss=float(-log_probabilities[np.arange(len(labels)), labels].mean()),
        accuracy=float(hits.sum() / len(labels)),
        macro_f1=float(f1.mean()),
        confusion=confusion,
        probabilities=np.exp(log_probabilities),
        predicted=predicted,
    )
