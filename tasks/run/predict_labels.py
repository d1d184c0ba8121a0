"""Predict any number of labels of new texts with a finished run, and explain one label of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.errors import UserError
from core.label_sets import SEPARATOR, join_labels
from core.models.heads import MultilabelHead
from core.schema import of_kind
from core.strings import shorten
from core.train.run_folder import RunFolder
from tasks.run.answers import Answers
from tasks.run.predict_classes import Predictor
from tasks.run.predict_options import PredictOptions
from tasks.run.worker import Request

NAME = 30
"""Maximum characters of a label in a message."""


@dataclass
class LabelAnswers(Answers):
    """Answers of all labels above the threshold of the run, joined."""

    threshold: float = 0.5

    def answer(self, shares: np.ndarray) -> str:
        """Return the labels with a share above the threshold, joined; "" for none."""
        return join_labels(shares > self.threshold, self.classes)


class LabelPredictor(Predictor):
    """A run's predictions: labels joined by `|`, their probabilities, and text."""

    def __init__(self, run: str, request: Request, wanted: PredictOptions) -> None:
        if wanted.calibrate or wanted.minimum is not None:
            flag = "--calibrate" if wanted.calibrate else "--min-probability"
            raise UserError(
                f"{run}: {flag} is for one label per text, this run has model.head.kind multilabel: omit it, or train"
                f" with another `model.head.threshold`"
            )
        super().__init__(run, request, wanted)
        self.label = None if wanted.label is None else self._number(wanted.label)

    def _answers(self, folder: RunFolder) -> Answers:
        head = of_kind(self.experiment.model.head, MultilabelHead)
        return LabelAnswers(self.execution["classes"], threshold=head.threshold)

    def _number(self, label: str) -> int:
        classes = self.execution["classes"]
        if label not in classes:
            named = ", ".join(shorten(name, NAME) for name in classes[:20])
            raise UserError(f"`label` {label}: no label of the run: choose one of {named}")
        return classes.index(label)

    def _sureness(self, probabilities: np.ndarray) -> str:
        """Return the probabilities of the predicted labels, joined as these."""
        threshold = of_kind(self.experiment.model.head, MultilabelHead).threshold
        return SEPARATOR.join(f"{own:.4f}" for own in probabilities if own > threshold)
