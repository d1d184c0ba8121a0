"""Labels that are probably wrong, by confident learning (Northcutt, Jiang and Chuang 2021).

Every text needs the probabilities of a model that was not trained on it, as cross-validation gives them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LabelIssue:
    """A text whose label is probably wrong; `row` is its number from 0 among those given."""

    row: int
    label: int
    suggested: int
    """The class with the highest probability."""
    label_probability: float
    suggested_probability: float


def class_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the mean probability of each class over the texts with that label, [C]; infinity without such texts."""
    classes = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, weights=own, minlength=classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)


def confident_classes(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the class that each text confidently belongs to, [N] int64, -1 for none.

    It is the most probable one of the classes whose threshold the text reaches (equation 1 of the paper).
    """
    reached = probabilities >= class_thresholds(probabilities, labels)
    best = np.where(reached, probabilities, -1.0).argmax(axis=1)
    return np.where(reached.any(axis=1), best, -1)


def label_issues(probabilities: np.ndarray, labels: np.ndarray) -> list[LabelIssue]:
    """Return the texts that confidently belong to another class than their label, the most suspicious first.

    These are the off-diagonal entries of the confident joint, without texts whose label is the most probable class all
    the same. They are sorted by the margin: the probability of the label minus that of the suggested class.
    `probabilities` [N, C] are those of texts that the model has not seen, `labels` [N] integers.
    """
    texts = np.arange(len(labels))
    confident, predicted = confident_classes(probabilities, labels), probabilities.argmax(axis=1)
    wrong = np.flatnonzero((confident >= 0) & (confident != labels) & (predicted != labels))
    margins = probabilities[texts, labels] - probabilities[texts, predicted]
    return [
        LabelIssue(
            row=int(row),
            label=int(labels[row]),
            suggested=int(predicted[row]),
            label_probability=float(probabilities[row, labels[row]]),
            suggested_probability=float(probabilities[row, predicted[row]]),
        )
        for row in wrong[np.argsort(margins[wrong], kind="stable")]
    ]
