"""Predict labels of new texts with a finished run, and explain the predictions."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.markup import escape

from core.analysis.occlusion import explain
from core.data.download import no_progress
from core.data.encode import encode_text, encode_texts
from core.data.encodings import check_encoding
from core.data.text_files import PACKED
from core.data.tokenizers import make_tokenizer
from core.errors import UserError
from core.models.heads.scores import probabilities_of
from core.spec.experiment import Experiment
from core.train.metrics import all_logits
from core.train.run_folder import RunFolder
from tasks.cli.console import DataProgress, errors, fact
from tasks.cli.flags import name_flags
from tasks.run.evaluators import NUMPY, evaluator
from tasks.run.explain import Explained, check_page, show, write_page
from tasks.run.predict_file import is_table, predictions_of, rows_of, write_predictions
from tasks.run.worker import Request


@dataclass(frozen=True)
class PredictOptions:
    """Options of a prediction: input and output."""

    file: str | None = None
    """File of texts: a table, or one text per line."""
    explain: bool = False
    page: str | None = None
    """Path of the page of explanations."""
    interactive: bool = False
    out: str | None = None
    """Path of the CSV file of predictions."""
    text_column: str | None = None
    encoding: str | None = None
    """Encoding of the input file; those of the run if None, as for `text_column`."""


class Predictor:
    """Print a run's predictions as label, probability and text, with explanations if wanted."""

    def __init__(self, run: str, request: Request, wanted: PredictOptions) -> None:
        self.run, self.wanted = run, wanted
        folder = RunFolder.open(Path(run))
        self.experiment, self.execution = folder.read_record()
        self.vocabulary = folder.read_vocabulary(self.experiment.model)
        self.engine = evaluator(folder, self.experiment, request)
        self.computed_by = f"{request.backend or NUMPY} on {self.engine.device}"

    def write(self, rows: Iterator[tuple[int, str]], out: Path) -> None:
        """Write the predictions of all rows to a CSV file."""
        found = predictions_of(rows, self.engine.logits, self.vocabulary, self.experiment)
        total, empty = write_predictions(out, found, self.execution["classes"])
        fact("written", f"{out}: predictions for {total:,} texts ({self.computed_by})")
        if empty:
            _note_empty(empty, total)

    def predict(self, texts: list[str]) -> None:
        dataset = encode_texts(texts, self.vocabulary, self.experiment.text)
        for text, row in zip(texts, probabilities_of(all_logits(self.engine.logits, dataset)), strict=True):
            self._print(row, text)

    def explain(self, texts: list[str]) -> list[Explained]:
        encoded = [
            encode_text(text, self.vocabulary, self.experiment.text, f"text {number}")
            for number, text in enumerate(texts, start=1)
        ]
        found = []
        for text, own in zip(texts, encoded, strict=True):
            explanation = explain(self.engine.logits, own.ids)
            found.append(Explained(own, explanation, self.execution["classes"][explanation.predicted]))
            self._print(explanation.probabilities, text)
            show(found[-1])
        return found

    def _print(self, probabilities: np.ndarray, text: str) -> None:
        best = int(probabilities.argmax())
        line = f"{self.execution['classes'][best]}\t{probabilities[best]:.4f}\t{' '.join(text.split())}"
        print(line, flush=self.wanted.interactive)


def predict(run: str, texts: list[str], request: Request, wanted: PredictOptions = PredictOptions()) -> int:
    """Predict for every text from arguments, a file or standard input. Return the exit code."""
    file = wanted.file
    if wanted.page is not None:
        check_page(Path(wanted.page))
    if wanted.interactive:
        return _predict_interactively(Predictor(run, request, wanted))
    # Read the input before the slow import of a framework.
    experiment, _ = RunFolder.open(Path(run)).read_record()
    if wanted.out is not None:
        check_page(Path(wanted.out), "--out")
    table = Path(file) if file is not None and is_table(file) else None
    if table is None and wanted.text_column is not None:
        raise UserError(f"--text-column {wanted.text_column}: {file} has no columns; give a .csv, .tsv or .jsonl file")
    if table is not None and wanted.out is not None:
        with DataProgress() as progress:
            rows = rows_of(table, experiment, wanted.text_column, wanted.encoding, progress)
            Predictor(run, request, wanted).write(rows, Path(wanted.out))
        return 0
    if table is not None:
        rows = rows_of(table, experiment, wanted.text_column, wanted.encoding, no_progress)
        texts = _with_words([text for _, text in rows], experiment)
    elif file is not None:
        texts = read_lines(Path(file), wanted.encoding or "utf-8")
    elif not texts:
        texts = _lines(_read_input(), "standard input")
    predictor = Predictor(run, request, wanted)
    if wanted.out is not None:
        predictor.write(iter(enumerate(texts, start=1)), Path(wanted.out))
        return 0
    if not wanted.explain:
        predictor.predict(texts)
        return 0
    if not texts:
        raise UserError("no text to predict for: give at least one")
    found = predictor.explain(texts)
    if wanted.page is not None:
        write_page(Path(wanted.page), run, predictor.computed_by, found)
        fact("page", wanted.page)
    return 0


def _with_words(texts: list[str], experiment: Experiment) -> list[str]:
    tokenize = make_tokenizer(experiment.text)
    found = [text for text in texts if tokenize(text)]
    if 0 < len(found) < len(texts):
        _note_empty(len(texts) - len(found), len(texts))
    return found


def _note_empty(empty: int, total: int) -> None:
    errors.print(f"[yellow]note:[/] no prediction for {empty:,} of {total:,} texts: no tokens")


def _predict_interactively(predictor: Predictor) -> int:
    """Predict for each line of standard input until it ends; report and skip lines without tokens."""
    live = sys.stdin.isatty()
    while True:
        if live:
            print("text> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            if live:
                print(file=sys.stderr)
            return 0
        if not line.strip():
            continue
        try:
            (predictor.explain if predictor.wanted.explain else predictor.predict)([line.rstrip("\n")])
        except UserError as error:
            errors.print(f"[red]error:[/] {escape(name_flags(str(error)))}")


def read_lines(path: Path, encoding: str = "utf-8") -> list[str]:
    """Return the non-blank lines of a text file, plain or .gz. Raises UserError with file and offset."""
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.name.lower().endswith(".gz") else data
    except PACKED as error:
        raise UserError(f"{path}: truncated or damaged ({error}): copy or compress it again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    return _lines(data, str(path), encoding)


def _read_input() -> bytes:
    if sys.stdin.isatty():
        print("type one text per line, then press Ctrl-D", file=sys.stderr)
    return sys.stdin.buffer.read()


def _lines(data: bytes, where: str, encoding: str = "utf-8") -> list[str]:
    check_encoding(encoding)
    try:
        text = data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        name = encoding.upper()
        raise UserError(f"{where}: not {name} at byte {error.start}; convert it, e.g. with iconv -t utf-8") from None
    # Not splitlines: it also splits at form feeds and Unicode separators, which occur within texts.
    return [line.removesuffix("\r") for line in text.split("\n") if line.strip()]
