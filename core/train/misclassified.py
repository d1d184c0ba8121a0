"""Misclassified test texts of a finished run, most confident first: `mistakes.csv`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from core.data.dataset import Dataset
from core.models.heads.multilabel import LABELS
from core.models.heads.multilabel_scores import MultilabelEvaluation
from core.models.heads.scores import Evaluation

KEPT = 100
"""Maximum number of misclassified texts stored in a run."""


@dataclass(frozen=True)
class Misclassified:
    """One misclassified text; `probability` is that of the predicted class, or set of labels."""

    name: str
    label: str
    predicted: str
    probability: float
    text: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """Cells of the row in `mistakes.csv`."""
        return self.name, self.label, self.predicted, f"{self.probability:.6f}", self.text


def most_confident(test: Dataset, found: Evaluation, classes: list[str], limit: int = KEPT) -> list[Misclassified]:
    """Return at most `limit` misclassified texts, by increasing probability of the true class, or set of labels.

    `text` is empty (see `with_texts`).
    """
    labels, predicted = found.strings(test.targets, tuple(classes))
    if isinstance(found, MultilabelEvaluation):
        sure = np.exp(found.log_shares[:, 1])
    else:
        sure = found.probabilities.max(axis=1)
    return [
        Misclassified(test.names[row], labels[row], predicted[row], float(sure[row]))
        for row in wrong_rows(test, found)[:limit]
    ]


def wrong_rows(test: Dataset, found: Evaluation) -> np.ndarray:
    """Return the rows of the misclassified texts, by increasing probability of the true class, or set of labels."""
    if isinstance(found, MultilabelEvaluation):
        true, wrong = found.log_shares[:, 0], np.flatnonzero((found.predicted != test.targets[LABELS]).any(axis=1))
    else:
        true = found.probabilities[np.arange(len(test)), test.labels]
        wrong = np.flatnonzero(found.predicted != test.labels)
    return wrong[np.argsort(true[wrong], kind="stable")]


def with_texts(rows: list[Misclassified], texts: dict[str, str]) -> list[Misclassified]:
    """Return the rows with their texts, by name, "" for a missing text."""
    return [dataclasses.replace(row, text=texts.get(row.name, "")) for row in rows]
