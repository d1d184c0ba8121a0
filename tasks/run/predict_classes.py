"""Predict a class of new texts with a finished run, and explain the predictions."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from core.data.encode import EncodedText, encode_text
from core.data.tokenizers import make_tokenizer
from core.errors import UserError
from core.strings import CONTROL
from core.train.run_folder import RunFolder
from tasks.cli.console import fact
from tasks.cli.terminal import note
from tasks.run.answers import Answers
from tasks.run.evaluators import evaluator
from tasks.run.explain import Explained, Unexplained, show
from tasks.run.explain_ngrams import Explainer
from tasks.run.predict_file import Prediction, Text, Texts, predictions_of, result_columns, write_predictions
from tasks.run.predict_options import Counts, PredictOptions
from tasks.run.unknown_words import UnknownWords
from tasks.run.worker import Request


class Predictor:
    """A run's predictions: label, probability and text, with explanations if wanted.

    A text without tokens has an empty label and an empty probability.
    """

    def __init__(self, run: str, request: Request, wanted: PredictOptions) -> None:
        self.run, self.wanted = run, wanted
        folder = RunFolder.open(Path(run))
        self.experiment, self.execution = folder.read_record()
        self.vocabulary = folder.read_vocabulary(self.experiment.model)
        fitted = folder.read_ngrams(self.experiment.model)
        self.ngrams = None if fitted is None else fitted.model
        chosen = evaluator(folder, self.experiment, request)
        self.engine, self.computed_by = chosen.engine, chosen.computed_by
        self.counts, self.unknown = Counts(), UnknownWords.of(self.experiment.text)
        self.answers = self._answers(folder)
        self.label: int | None = None

    def _answers(self, folder: RunFolder) -> Answers:
        if self.wanted.label is not None:
            raise UserError(f"{self.run}: `label` is for several labels per text, this run has one: omit it")
        return Answers.of(folder, self.execution["classes"], self.wanted)

    def _sureness(self, probabilities: np.ndarray) -> str:
        """Return the probability of the answer, as it is printed."""
        return f"{probabilities.max():.4f}"

    def with_engine(self, engine: Any) -> Predictor:
        """Return a predictor that computes with another engine, and counts its texts anew."""
        other = copy(self)
        other.engine, other.counts = engine, Counts()
        other.unknown = UnknownWords.of(self.experiment.text)
        return other

    def write_file(self, texts: Texts, out: Path) -> None:
        """Write the predictions to a CSV file, and print nothing."""
        write_predictions(out, texts.columns, self._predictions(texts), self.answers, self.wanted.raw)

    def write(self, texts: Texts, out: Path) -> None:
        """Write the predictions to a CSV file."""
        classes = self.execution["classes"]
        found = self._counted(self._predictions(texts))
        write_predictions(out, texts.columns, found, self.answers, self.wanted.raw)
        fact("written", f"{out}: predictions for {self.counts.texts:,} texts ({self.computed_by})")
        for name, free in result_columns(texts.columns, classes).items():
            if name != free:
                note(f"the file has a column {name}, so the prediction's is {free}")
        self._note_answers(texts)

    def predict(self, texts: Texts) -> None:
        """Print the predictions."""
        for own in self._predictions(texts):
            self._print(own.shares, own.row.text)
            self._note_unknown(texts, own.row.number, own.unknown, own.tokens)
        self._note_answers(texts)

    def explain(self, texts: Texts) -> list[Explained | Unexplained]:
        """Print the predictions with explanations; return these if they are wanted as a page."""
        found: list[Explained | Unexplained] = []
        tokenize = make_tokenizer(self.experiment.text)
        for row in texts.rows:
            empty = not tokenize(row.text)
            self.counts.add(row.number, empty)
            if empty:
                self._note_unknown(texts, row.number, 0, 0)
                self._print(None, row.text)
                own = Unexplained(row.number, row.text)
            else:
                own = self._explained(texts, row)
            if self.wanted.page is not None:
                found.append(own)
        self._note_empty(texts)
        return found

    def _explained(self, texts: Texts, row: Text) -> Explained:
        encoded = encode_text(row.text, self.vocabulary, self.experiment.text, f"text {row.number}")
        own = self.explained(row.text, encoded, row.number)
        self._print(own.explanation.probabilities, row.text)
        self._note_unknown(texts, row.number, len(encoded.unknown), len(encoded.ids))
        show(own)
        return own

    def explained(self, text: str, encoded: EncodedText, number: int = 1) -> Explained:
        """Return the explanation of the prediction for a text and its encoded form."""
        classes = self.execution["classes"]
        explainer = Explainer(self.engine, self.experiment.model, self.ngrams, classes, self.label)
        return explainer.of_text(text, encoded, self.experiment.text, number)

    def _predictions(self, texts: Texts) -> Iterator[Prediction]:
        for own in predictions_of(texts.rows, self.engine.logits, self.vocabulary, self.experiment, self.ngrams):
            self.counts.add(own.row.number, own.shares is None)
            yield own if own.shares is None else own._replace(shares=self.answers.shares(own.shares))

    def _counted(self, found: Iterator[Prediction]) -> Iterator[Prediction]:
        """Yield the predictions, and count the texts that are mostly unknown."""
        for own in found:
            self.unknown.add(own.unknown, own.tokens)
            yield own

    def _note_unknown(self, texts: Texts, number: int, unknown: int, tokens: int) -> None:
        """Count a text, and note at once that it is mostly unknown if it was typed."""
        told = self.unknown.add(unknown, tokens)
        if told and (self.wanted.interactive or texts.unit == "text"):
            note(told if self.wanted.interactive else f"text {number}: {told}")

    def _print(self, probabilities: np.ndarray | None, text: str) -> None:
        cells = ["", "", text]
        if probabilities is not None:
            cells = [self.answers.answer(probabilities), self._sureness(probabilities), text]
        line = "\t".join(CONTROL.sub("\ufffd", " ".join(cell.split())) for cell in cells)
        print(line, flush=self.wanted.interactive)

    def _note_answers(self, texts: Texts) -> None:
        self._note_empty(texts)
        if line := self.answers.describe():
            note(line)

    def _note_empty(self, texts: Texts) -> None:
        if self.counts.empty:
            note(self.counts.describe(texts.unit))
        if not self.wanted.interactive and texts.unit != "text" and (line := self.unknown.describe()):
            note(line)
