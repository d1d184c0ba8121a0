"""Texts to predict for, from a table, lines or arguments, and the CSV file of predictions.

All is read and written in chunks, so that memory does not grow with the number of texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.batch import UNK
from core.data.download import Progress, no_progress
from core.data.encode import encode_worded
from core.data.ngrams.linear import NgramModel
from core.data.sources.formats.detect import Format, detect_format
from core.data.sources.table import Row, whole_cells
from core.data.sources.table import is_table as has_columns
from core.data.sources.table_columns import read_texts
from core.data.text_files import StreamLines, TextLines, open_lines
from core.data.vocabulary import Vocabulary
from core.errors import UserError
from core.files import as_spreadsheet_text, incremental_writer, row_writer
from core.models.heads.pooling import PoolingHead
from core.schema import of_kind
from core.spec.experiment import Experiment
from core.train.metrics import all_logits
from tasks.run.answers import Answers

CHUNK = 2048
"""Largest number of texts per chunk."""

CHUNK_SIZE = 1_000_000
"""Number of characters after which a chunk ends."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text with its number from 1 and the cells of its row: its own columns, or number and text."""

    number: int
    text: str
    cells: list[str]


@dataclass(frozen=True)
class Texts:
    """Texts in order; `columns` are the names of their cells, `unit` is what their numbers count."""

    unit: str
    columns: list[str]
    rows: Iterator[Text]

    def checked(self, where: str) -> Texts:
        """Return the texts after reading the first. Raises UserError if there is none."""
        first = next(self.rows, None)
        if first is None:
            expected = "expected rows below the header" if self.unit == "row" else "give at least one"
            raise UserError(f"{where}no text to predict for: {expected}")
        return Texts(self.unit, self.columns, chain([first], self.rows))


class Prediction(NamedTuple):
    """A text, its probabilities [C], None if it has no tokens, and how many of its tokens are out of vocabulary.

    Both counts are those of the tokens that remain after truncation.
    """

    row: Text
    shares: np.ndarray | None
    unknown: int = 0
    tokens: int = 0


def is_table(file: str | None) -> bool:
    """Return whether a file is a table: by its name or, except for delimited lines, by its content."""
    return file is not None and has_columns(Path(file))


def encoding_of(experiment: Experiment, encoding: str | None) -> str:
    """Return the given encoding of new texts, or that of the run's."""
    return encoding or getattr(experiment.data, "encoding", "utf-8")


def texts_of_file(
    path: Path, experiment: Experiment, column: str | None, encoding: str | None, progress: Progress
) -> Texts:
    """Return the rows of a table, or the lines of another file; column and encoding default to the run's."""
    if is_table(str(path)):
        return texts_of_table(path, experiment, column, encoding, progress)
    if column is not None:
        raise UserError(f"{path}: no table, so without the column {column!r}: give a table, or omit `data.text_column`")
    return texts_of_lines(open_lines(path, encoding_of(experiment, encoding), progress))


def texts_of_table(
    path: Path, experiment: Experiment, column: str | None, encoding: str | None, progress: Progress
) -> Texts:
    """Return the rows of a table with all their columns; column and encoding default to the run's."""

    def read(progress: Progress) -> Iterator[tuple[Row, str]]:
        return read_texts(path, experiment.data, column, encoding, progress)

    rows = read(progress)
    first = next(rows, None)
    columns = list(first[0].names) if first is not None else []
    if detect_format(path, encoding_of(experiment, encoding)) in (Format.JSON_LINES, Format.JSON_ARRAY):
        # Each object has its own fields.
        columns = list(dict.fromkeys(field for row, _ in read(no_progress) for field in row.names))
    given = chain([] if first is None else [first], rows)
    found = (Text(row.number, text, whole_cells(row, columns)) for row, text in given)
    return Texts("row", columns, found).checked(f"{path}: ")


def texts_of_lines(lines: TextLines | StreamLines) -> Texts:
    """Return the lines that are not blank, with their line numbers."""
    found = ((lines.number, line.rstrip("\n").removesuffix("\r")) for line in lines if line.strip())
    return _numbered("line", found).checked(f"{lines.name}: ")


def texts_of_arguments(texts: list[str]) -> Texts:
    """Return the texts of the command line."""
    return _numbered("text", enumerate(texts, start=1))


def _numbered(unit: str, texts: Iterable[tuple[int, str]]) -> Texts:
    return Texts(unit, ["row", "text"], (Text(number, text, [str(number), text]) for number, text in texts))


def chunks_of(rows: Iterator[Text]) -> Iterator[list[Text]]:
    """Yield the texts in lists of at most `CHUNK`, shorter if they are long."""
    chunk, size = [], 0
    for row in rows:
        chunk.append(row)
        size += len(row.text)
        if len(chunk) == CHUNK or size >= CHUNK_SIZE:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def predictions_of(
    rows: Iterator[Text],
    logits_of: Callable,
    vocabulary: Vocabulary,
    experiment: Experiment,
    ngrams: NgramModel | None = None,
) -> Iterator[Prediction]:
    """Yield the predictions in the order of `rows`. `ngrams`: those of a model that reads them."""
    head = of_kind(experiment.model.head, PoolingHead)
    for chunk in chunks_of(rows):
        dataset, worded = encode_worded([row.text for row in chunk], vocabulary, experiment.text, ngrams)
        found = [Prediction(row, None) for row in chunk]
        if worded:
            unknown = np.add.reduceat(dataset.tokens == UNK, dataset.offsets[:-1], dtype=np.int64)
            shares = head.probabilities(all_logits(logits_of, dataset))
            for number, place in enumerate(worded):
                counts = int(unknown[number]), int(dataset.lengths[number])
                found[place] = Prediction(chunk[place], shares[number], *counts)
        yield from found


def result_columns(columns: list[str], classes: list[str]) -> dict[str, str]:
    """Return the columns `predicted` and `p_CLASS`, and the names to write: others than those of `columns`."""
    written, taken = {}, set(columns)
    for name in ("predicted", *(f"p_{own}" for own in classes)):
        free, number = name, 2
        while free in taken:
            free, number = f"{name}_{number}", number + 1
        written[name] = free
        taken.add(free)
    return written


def write_predictions(path: Path, columns: list[str], found: Iterator[Prediction], answers: Answers, raw: bool) -> None:
    """Write a CSV with `columns`, predicted and `p_CLASS` per class.

    A text without tokens has empty cells there. For spreadsheets the file has a byte order mark, and unless it is
    `raw`, no cell is a formula. Raises UserError as reading does, and leaves no file then.
    """
    own, classes = (lambda cell: cell) if raw else as_spreadsheet_text, answers.classes
    with incremental_writer(path) as file:
        file.write("\ufeff")
        write = row_writer(file)
        write([own(name) for name in (*columns, *result_columns(columns, classes).values())])
        for row, shares, *_ in found:
            results = [""] * (1 + len(classes))
            if shares is not None:
                results = [own(answers.answer(shares)), *(f"{share:.6f}" for share in shares)]
            write([*map(own, row.cells), *results])
