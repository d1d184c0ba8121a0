"""Predict labels of new texts with a finished run, and explain the predictions."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Protocol

from core.data.download import Progress, no_progress
from core.data.encodings import check_encoding, is_wide
from core.data.text_files import LONGEST_LINE, StreamLines
from core.data.tokenizers import make_tokenizer
from core.errors import UserError
from core.spec.experiment import Experiment
from core.train.run_folder import RunFolder
from tasks.cli import terminal
from tasks.cli.commands import run_command
from tasks.cli.console import DataProgress, fact
from tasks.run.explain import check_page, write_page
from tasks.run.predict_classes import Predictor
from tasks.run.predict_file import (
    CHUNK,
    Text,
    Texts,
    encoding_of,
    texts_of_arguments,
    texts_of_file,
    texts_of_lines,
)
from tasks.run.predict_labels import LabelPredictor
from tasks.run.predict_options import Counts, PredictOptions
from tasks.run.predict_tags import TagPredictor
from tasks.run.worker import Request

PREDICTORS = {"pooled": Predictor, "multilabel": LabelPredictor, "tokens": TagPredictor}
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
