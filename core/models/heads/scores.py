"""Metrics of a classifier from its logits, in NumPy float64, shared by all backends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Evaluation:
    """Metrics and predictions of a data set.

    `loss` (mean cross-entropy), `accuracy`, `macro_f1` (mean over the classes that occur as labels or predictions),
    `confusion` [C, C] (rows: true class), `probabilities` [N, C] and `predicted` [N], in the order of the data set.
    """

    loss: float
    accuracy: float
    macro_f1: float
    confusion: np.ndarray
    probabilities: np.ndarray
    predicted: np.ndarray

    @property
    def score(self) -> float:
        """Criterion of the best checkpoint, higher is better; the loss breaks ties."""
        return self.accuracy


def probabilities_of(logits: np.ndarray) -> np.ndarray:
    """Return probabilities [N, C] float64 of logits [N, C], or [N, 1] (logit of class 1 of two)."""
    return np.exp(_log_probabilities(logits))


def _log_probabilities(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def summarize(logits: np.ndarray, labels: np.ndarray) -> Evaluation:
    """Compute metrics from logits [N, outputs] and labels [N]. Ties predict the lower class."""
    log_probabilities = _log_probabilities(logits)
    classes = log_probabilities.shape[1]
    predicted = log_probabilities.argmax(axis=1)
    confusion = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    hits, occurrences = np.diag(confusion), confusion.sum(axis=1) + confusion.sum(axis=0)
    occur = occurrences > 0
    f1 = 2 * hits[occur] / occurrences[occur]
    return Evaluation(
        loss=float(-log_probabilities[np.arange(len(labels)), labels].mean()),
        accuracy=float(hits.sum() / len(labels)),
        macro_f1=float(f1.mean()),
        confusion=confusion,
        probabilities=np.exp(log_probabilities),
        predicted=predicted,
    )
