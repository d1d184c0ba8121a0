"""Predict for a file of texts in chunks, so that memory does not grow with the number of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np

from core.data.download import Progress
from core.data.encode import encode_worded
from core.data.sources.table import is_table as has_columns
from core.data.sources.table_columns import read_texts
from core.data.vocabulary import Vocabulary
from core.errors import UserError
from core.files import incremental_writer, row_writer
from core.models.heads.scores import probabilities_of
from core.spec.experiment import Experiment
from core.train.metrics import all_logits

CHUNK = 2048
"""Number of texts per chunk."""

Prediction = tuple[int, str, np.ndarray | None]
"""Row number from 1, text, and probabilities [C], None if the text has no tokens."""


def is_table(file: str | None) -> bool:
    """Return whether a file is a table: by its name or, except for delimited lines, by its content."""
    return file is not None and has_columns(Path(file))


def rows_of(
    path: Path, experiment: Experiment, column: str | None, encoding: str | None, progress: Progress
) -> Iterator[tuple[int, str]]:
    """Return the row numbers, from 1, and texts of a table; column and encoding default to the run's."""
    rows = read_texts(path, experiment.data, column, encoding, progress)
    first = next(rows, None)
    if first is None:
        raise UserError(f"{path}: no text to predict for: expected rows below the header")
    return ((row.number, text) for row, text in chain([first], rows))


def predictions_of(
    rows: Iterator[tuple[int, str]], logits_of: Callable, vocabulary: Vocabulary, experiment: Experiment
) -> Iterator[Prediction]:
    """Yield the predictions in the order of `rows`."""
    while chunk := list(islice(rows, CHUNK)):
        dataset, worded = encode_worded([text for _, text in chunk], vocabulary, experiment.text)
        found: list[np.ndarray | None] = [None] * len(chunk)
        if worded:
            for place, own in zip(worded, probabilities_of(all_logits(logits_of, dataset)), strict=True):
                found[place] = own
        for (number, text), own in zip(chunk, found, strict=True):
            yield number, text, own


def write_predictions(path: Path, found: Iterator[Prediction], classes: list[str]) -> tuple[int, int]:
    """Write a CSV with row, text, predicted and `p_CLASS` per class.

    Return the number of rows, and of those without tokens, which have no prediction. Raises UserError as reading
    does, and leaves no file then.
    """
    total = empty = 0
    with incremental_writer(path) as file:
        write = row_writer(file)
        write(["row", "text", "predicted", *(f"p_{name}" for name in classes)])
        for number, text, own in found:
            total += 1
            empty += own is None
            cells = ["", *[""] * len(classes)] if own is None else [classes[own.argmax()], *(f"{p:.6f}" for p in own)]
            write([number, text, *cells])
        if not total:
            raise UserError("no text to predict for: the file has no rows")
    return total, empty
