"""Answers for a whole file of texts: read, computed and written a piece at a time, so that a million rows will do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np

from core.data.download import Progress
from core.data.encode import encode_worded
from core.data.sources.table import format_of, read_rows
from core.data.vocabulary import Vocabulary
from core.errors import UserError
from core.files import growing_text, row_writer
from core.models.heads.scores import probabilities_of
from core.spec.experiment import Experiment
from core.train.metrics import all_logits

PIECE = 2048
"""Texts that are computed together."""

Answer = tuple[int, str, np.ndarray | None]
"""Row, from 1; text; probabilities [C], None where the text has no words."""


def is_table(file: str | None) -> bool:
    return file is not None and format_of(Path(file)) is not None


def rows_of(
    path: Path, experiment: Experiment, column: str | None, encoding: str | None, progress: Progress
) -> Iterator[tuple[int, str]]:
    """Row numbers, from 1, and texts of a table; its column and encoding are the run's where none are given."""
    data = experiment.data
    column = column or getattr(data, "text_column", "text")
    rows = read_rows(path, [column], encoding or getattr(data, "encoding", "utf-8"), progress)
    first = next(rows, None)
    if first is None:
        raise UserError(f"{path}: no text to predict for: no row below the line that names the columns")
    return ((row.number, row.cells[0]) for row in chain([first], rows))


def answers(
    rows: Iterator[tuple[int, str]], logits_of: Callable, vocabulary: Vocabulary, experiment: Experiment
) -> Iterator[Answer]:
    """In the order of `rows`."""
    while piece := list(islice(rows, PIECE)):
        dataset, worded = encode_worded([text for _, text in piece], vocabulary, experiment.text)
        found: list[np.ndarray | None] = [None] * len(piece)
        if worded:
            for place, own in zip(worded, probabilities_of(all_logits(logits_of, dataset)), strict=True):
                found[place] = own
        for (number, text), own in zip(piece, found, strict=True):
            yield number, text, own


def write_answers(path: Path, found: Iterator[Answer], classes: list[str]) -> tuple[int, int]:
    """A CSV of row, text, predicted and `p_CLASS` per class. Returns the numbers of rows, and of those without words,
    which have no answer. Raises UserError as reading does; then nothing is left behind."""
    total = empty = 0
    with growing_text(path) as file:
        write = row_writer(file)
        write(["row", "text", "predicted", *(f"p_{name}" for name in classes)])
        for number, text, own in found:
            total += 1
            empty += own is None
            said = ["", *[""] * len(classes)] if own is None else [classes[own.argmax()], *(f"{p:.6f}" for p in own)]
            write([number, text, *said])
        if not total:
            raise UserError("there is no text to predict for: the file has no rows")
    return total, empty
