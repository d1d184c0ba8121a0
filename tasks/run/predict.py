"""Predict labels of new texts with a finished run, and explain the predictions."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from copy import copy
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from core.analysis.marked_text import MarkedText
from core.data.download import Progress, no_progress
from core.data.encode import EncodedText, encode_text
from core.data.encodings import check_encoding, is_wide
from core.data.text_files import LONGEST_LINE, StreamLines
from core.data.tokenizers import make_tokenizer
from core.errors import UserError
from core.spec.experiment import Experiment
from core.strings import CONTROL
from core.train.run_folder import RunFolder
from tasks.cli import terminal
from tasks.cli.commands import run_command
from tasks.cli.console import DataProgress, fact
from tasks.cli.terminal import note
from tasks.run.answers import Answers
from tasks.run.evaluators import evaluator
from tasks.run.explain import Explained, Unexplained, check_page, show, write_page
from tasks.run.explain_ngrams import Explainer
from tasks.run.predict_file import (
    CHUNK,
    Prediction,
    Text,
    Texts,
    encoding_of,
    predictions_of,
    result_columns,
    texts_of_arguments,
    texts_of_file,
    texts_of_lines,
    write_predictions,
)
from tasks.run.predict_options import Counts, PredictOptions
from tasks.run.predict_tags import TagPredictor
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
        self.answers = Answers.of(folder, self.execution["classes"], wanted)

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
        explainer = Explainer(self.engine, self.experiment.model, self.ngrams, self.execution["classes"])
        return explainer.explained(MarkedText.of(text, encoded, self.experiment.text), encoded, number)

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
            cells = [self.answers.answer(probabilities), f"{probabilities.max():.4f}", text]
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


PREDICTORS = {"pooled": Predictor, "tokens": TagPredictor}
"""Classes that predict with a run, by the kind of its head."""


def predictor_of(run: str, request: Request, wanted: PredictOptions) -> Predictor | TagPredictor:
    """Return what predicts with a run."""
    experiment, _ = RunFolder.open(Path(run)).read_record()
    if experiment.model.head.kind not in PREDICTORS:
        use = run_command(f"tasks.{experiment.task}", "predict")
        raise UserError(f"{run}: run of task {experiment.task}: use {use}")
    return PREDICTORS[experiment.model.head.kind](run, request, wanted)


def predict(run: str, texts: list[str], request: Request, wanted: PredictOptions) -> int:
    """Predict for every text from arguments, a file or standard input. Return the exit code."""
    if wanted.page is not None:
        check_page(Path(wanted.page))
    if wanted.interactive:
        return predict_interactively(predictor_of(run, request, wanted), wanted.encoding)
    experiment, _ = RunFolder.open(Path(run)).read_record()
    if wanted.out is not None:
        check_page(Path(wanted.out), "--out")
    with DataProgress() if wanted.out is not None else nullcontext(no_progress) as progress:
        # The input is opened before the slow import of a framework.
        given = given_texts(texts, experiment, wanted, progress)
        if wanted.out is not None:
            predictor_of(run, request, wanted).write(given, Path(wanted.out))
            return 0
        given = _some_with_tokens(given, experiment)
        predictor = predictor_of(run, request, wanted)
        if not wanted.explain:
            predictor.predict(given)
            return 0
        found = predictor.explain(given)
    if wanted.page is not None:
        write_page(Path(wanted.page), run, predictor.computed_by, found)
        fact("page", wanted.page)
    return 0


def given_texts(texts: list[str], experiment: Experiment, wanted: PredictOptions, progress: Progress) -> Texts:
    """Return the texts of arguments, a file or standard input. Raises UserError if there is none."""
    file = wanted.file
    if file is not None:
        return texts_of_file(Path(file), experiment, wanted.text_column, wanted.encoding, progress)
    if texts:
        return texts_of_arguments(texts)
    if sys.stdin.isatty():
        print("type one text per line, then press Ctrl-D", file=sys.stderr)
    encoding = encoding_of(experiment, wanted.encoding)
    return texts_of_lines(StreamLines(sys.stdin.buffer, "standard input", encoding))


def _some_with_tokens(texts: Texts, experiment: Experiment) -> Texts:
    """Return the texts. Raises UserError if none of the first has tokens and no more follow."""
    tokenize, first = make_tokenizer(experiment.text), []
    for row in texts.rows:
        first.append(row)
        if len(first) == CHUNK or tokenize(row.text):
            return Texts(texts.unit, texts.columns, chain(first, texts.rows))
    which = f"{texts.unit} {first[0].number}" if len(first) == 1 else f"{len(first):,} {texts.unit}s"
    raise UserError(f"{which}: the {experiment.text.tokenizer} tokenizer finds no tokens: give at least one word")


class AnyPredictor(Protocol):
    """What predicts interactively, for models of every kind."""

    wanted: PredictOptions
    experiment: Experiment
    counts: Counts

    def predict(self, texts: Texts) -> object: ...

    def explain(self, texts: Texts) -> object: ...


def predict_interactively(predictor: AnyPredictor, encoding: str | None) -> int:
    """Predict for each line of standard input until it ends; blank lines are skipped."""
    live, answer = sys.stdin.isatty(), predictor.explain if predictor.wanted.explain else predictor.predict
    requested = encoding_of(predictor.experiment, encoding)
    check_encoding(requested)
    if is_wide(requested):
        raise UserError(f"--encoding {requested}: not for --interactive: use utf-8, gb18030 or cp1252")
    number = 0
    while True:
        if live:
            print("text> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.buffer.readline(LONGEST_LINE)
        if not line:
            if live:
                print(file=sys.stderr)
            return 0
        lines = StreamLines(BytesIO(line), "standard input", requested)
        lines.number, number = number, number + 1
        try:
            text = "".join(lines).strip("\r\n")
            if text.strip():
                answer(Texts("line", [], iter([Text(number, text, [])])))
        except UserError as error:
            terminal.error(str(error))
        predictor.counts = Counts()
