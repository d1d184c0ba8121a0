"""Figures of merit of a classifier from its logits, in NumPy float64: the same code for every backend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Evaluation:
    """Of one data set: `loss` (mean cross-entropy), `accuracy`, `macro_f1` (mean over the classes that occur, as labels
    or as predictions), `confusion` [C, C] (rows: true class), `probabilities` [N, C] and `predicted` [N], in the data
    set's order."""

    loss: float
    accuracy: float
    macro_f1: float
    confusion: np.ndarray
    probabilities: np.ndarray
    predicted: np.ndarray

    @property
    def score(self) -> float:
        """What the best parameters are chosen by; more is better, and the loss decides ties."""
        return self.accuracy


def probabilities_of(logits: np.ndarray) -> np.ndarray:
    """[N, C] logits, or [N, 1] of the second of two classes -> [N, C] float64 that sum to 1."""
    return np.exp(_log_probabilities(logits))


def _log_probabilities(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def summarize(logits: np.ndarray, labels: np.ndarray) -> Evaluation:
    """Figures of logits [N, outputs] against labels [N]. Ties go to the lower class."""
    log_probabilities = _log_probabilities(logits)
    classes = log_probabilities.shape[1]
    predicted = log_probabilities.argmax(axis=1)
    confusion = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    hits, true, said = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    occur = true + said > 0
    f1 = 2 * hits[occur] / (true + said)[occur]
    return Evaluation(
        loss=float(-log_probabilities[np.arange(len(labels)), labels].mean()),
        accuracy=float(hits.sum() / len(labels)),
        macro_f1=float(f1.mean()),
        confusion=confusion,
        probabilities=np.exp(log_probabilities),
        predicted=predicted,
    )
