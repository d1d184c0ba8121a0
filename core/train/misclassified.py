"""Misclassified test texts of a finished run, most confident first: `mistakes.csv`."""

from __future__ import annotations

import csv
import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.data.dataset import Dataset
from core.files import as_spreadsheet_text
from core.models.heads.multilabel import LABELS
from core.models.heads.multilabel_scores import MultilabelEvaluation
from core.models.heads.scores import Evaluation
from core.train.predictions_file import reading

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


def read_mistakes(path: Path, limit: int = KEPT) -> list[Misclassified]:
    """Return at most `limit` rows of a `mistakes.csv`. Raises UserError if it is missing or damaged."""
    with reading(path):
        rows = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))
        cells = [[_plain(cell) for cell in row] for row in rows[1 : limit + 1]]
        found = [Misclassified(name, true, own, float(share), text) for name, true, own, share, text in cells]
        if not rows or not all(0.0 <= own.probability <= 1.0 for own in found):
            raise ValueError
    return found


def _plain(cell: str) -> str:
    """Return a cell without the apostrophe that `as_spreadsheet_text` put before it."""
    return cell[1:] if cell.startswith("'") and as_spreadsheet_text(cell[1:]) == cell else cell
