"""Labeled texts from tables: CSV, TSV, JSON, fastText, Excel and Parquet files.

`formats/detect.py` finds the format by the content. Text files, plain or .gz, are read row by row and may exceed
memory. Errors name the invalid row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from core.data.documents import Document, Source, SplitName
from core.data.download import Progress, file_digest, no_progress
from core.data.encodings import check_encoding
from core.data.sources.formats import delimited, excel, fasttext, json_rows, parquet
from core.data.sources.formats.detect import Format, check_file, detect_format, is_named_format
from core.data.sources.formats.rows import LONGEST, Header, Pairs, Row, whole_cells
from core.data.sources.header import check_no_header, data_hint
from core.data.text_files import TextLines
from core.errors import UserError
from core.files import user_path
from core.label_sets import labels_of, to_set
from core.spec.data import Table

PEEKED = 100
"""Number of rows from which the columns are inferred."""


def is_table(path: Path) -> bool:
    """Return whether a file is a table, by its name or, except for delimited lines, by its content."""
    return any(has_suffix(path, own) for own in Format) or is_named_format(path)


def has_suffix(path: Path, kind: Format) -> bool:
    """Return whether a file has a usual suffix of a format."""
    return path.name.lower().removesuffix(".gz").endswith(kind.suffixes)


def read_rows(  # noqa: PLR0913
    path: Path,
    columns: Sequence[str],
    encoding: str,
    progress: Progress = no_progress,
    names: Sequence[str] | None = None,
    listed: Collection[str] = (),
) -> Iterator[Row]:
    """Yield the rows with the cells of `columns`.

    `names` are those of all columns of a CSV, TSV or Excel file without a header line. The columns `listed` may hold
    lists, in formats that have lists: their cells are written as JSON. Raises UserError: a missing or
    repeated column, an empty file, a row with more or fewer cells than the header, a cell that is too long, an unclosed
    quote, bytes that are not in the encoding, NUL, a damaged file.
    """
    check_encoding(encoding)
    kind, wanted = detect_format(path, encoding), list(columns)
    if kind is Format.PARQUET:
        return parquet.read_rows(path, wanted, progress, listed=listed)
    if kind is Format.FASTTEXT:
        return fasttext.read_rows(path, TextLines(path, encoding, progress), wanted, listed)
    if kind in (Format.JSON_LINES, Format.JSON_ARRAY):
        return json_rows.read_rows(path, _json_values(kind, TextLines(path, encoding, progress)), wanted, listed)
    if kind is Format.EXCEL:
        records, unit = excel.read_records(path), "row of the sheet"
    else:
        dialect = delimited.detect_dialect(path, encoding, set(wanted).issubset, len(names) if names else None)
        records, unit = delimited.read_records(path, encoding, dialect, names is None, progress), "line"
    return _rows_of(path, delimited.without_blanks(records), unit, wanted, names)


def _json_values(kind: Format, lines: TextLines) -> Iterator[tuple[int, object]]:
    values_of = json_rows.values_of_array if kind is Format.JSON_ARRAY else json_rows.values_of_lines
    return values_of(lines.path, lines)


def _rows_of(
    path: Path, records: Iterator[tuple[int, list[str]]], unit: str, columns: list[str], names: Sequence[str] | None
) -> Iterator[Row]:
    """Yield the rows of records, whose first one is the header unless there are `names`."""
    first = next(records, None)
    if first is None:
        what = "the first line must name the columns" if names is None else "add labeled texts"
        raise UserError(f"{path}: empty: {what}")
    if names is None:
        cells = delimited.stripped(first[1])
        if not set(columns) <= set(cells) and (hint := data_hint(cells, [own for _, own in islice(records, PEEKED)])):
            raise UserError(f"{path}: no column {_missing(columns, cells)!r}: {hint}")
        header = Header(path, cells, columns, unit)
    else:
        check_no_header(path, first[1], names)
        header, records = Header(path, names, columns, unit, "`data.columns`"), chain([first], records)
    for number, (place, cells) in enumerate(records, 1):
        yield header.row(number, place, cells)


def _missing(columns: list[str], names: list[str]) -> str:
    return next(column for column in columns if column not in names)


@dataclass(frozen=True)
class Beginning:
    """The format of a table, the names of its columns, and its first rows if they have no names themselves.

    In a file without a header line, `names` are the cells of its first row.
    """

    format: Format
    names: list[str]
    rows: list[list[str]]


def peek(path: Path, encoding: str, suits: delimited.Suits, names: Sequence[str] | None = None) -> Beginning:
    """Read the beginning of a table. `suits` tells of the cells of a first row whether they can be its header."""
    check_encoding(encoding)
    kind = detect_format(path, encoding)
    if kind is Format.PARQUET:
        return Beginning(kind, parquet.names_of(path), [])
    if kind is Format.FASTTEXT:
        return Beginning(kind, list(fasttext.NAMES), [])
    if kind in (Format.JSON_LINES, Format.JSON_ARRAY):
        values = islice(_json_values(kind, TextLines(path, encoding)), PEEKED)
        found = dict.fromkeys(name for _, own in values if isinstance(own, Pairs) for name in own.names)
        return Beginning(kind, list(found), [])
    if kind is Format.EXCEL:
        records = excel.read_records(path)
    else:
        dialect = delimited.detect_dialect(path, encoding, suits, len(names) if names else None)
        records = delimited.read_records(path, encoding, dialect, names is None)
    rows = [delimited.stripped(cells) for _, cells in islice(delimited.without_blanks(records), PEEKED)]
    return Beginning(kind, rows[0] if rows else [], rows[1:])


def open_table(data: Table, progress: Progress = no_progress) -> Source:
    """Open the source named by a `Table`.

    Raises UserError: a file missing, repeated, or without rows.
    """
    parts: dict[SplitName, Path] = {part: user_path(path) for part, path in _parts(data).items() if path is not None}
    for path in parts.values():
        check_file(path)
    for part, path in parts.items():
        if any(path.samefile(other) for own, other in parts.items() if own < part):
            raise UserError(f"{path}: given for two splits: give different files, or omit one to hold it out")
    if data.label_column in data.text_columns:
        raise UserError(f"column {data.label_column!r}: given for both text and label: name two columns")
    check_encoding(data.encoding)
    digests = [f"{part} {file_digest(path, 'sha256')}" for part, path in parts.items()]
    how = [data.text_column, data.label_column, data.encoding, *([data.columns] if data.columns else [])]
    how += ["multi-label", data.label_separator] if data.multi_label else []
    fingerprint = hashlib.sha256(json.dumps([digests, how]).encode()).hexdigest()
    for path in parts.values():
        if next(_labeled(path, data), None) is None:
            raise UserError(f"{path}: no row below the header: add labeled texts")
    description = ", ".join(str(path) if part in ("", "train") else f"{part} {path}" for part, path in parts.items())
    size, read = sum(path.stat().st_size for path in parts.values()), _reader(data, parts, progress)
    return Source("path", description, f"table:{fingerprint}", None, read, lenient=True, size=size)


def _parts(data: Table) -> dict[SplitName, str | None]:
    # Without a test file, all splits are held out of `source`, so its texts are unmarked.
    return {"train" if data.test is not None else "": data.source, "dev": data.dev, "test": data.test}


def _labeled(path: Path, data: Table, progress: Progress = no_progress) -> Iterator[tuple[int, str, str]]:
    """Yield the number, text and label of every row; with several labels per text their set (`core/label_sets.py`)."""
    columns, listed = [*data.text_columns, data.label_column], [data.label_column] if data.multi_label else []
    for row in read_rows(path, columns, data.encoding, progress, data.columns, listed):
        *texts, cell = row.cells
        label = _set_of(cell, data, f"{path}: row {row.number}") if data.multi_label else " ".join(cell.split())
        yield row.number, join_texts(texts), label


def _set_of(cell: str, data: Table, where: str) -> str:
    """Return the set of the labels of a cell. Raises UserError, naming `where`, for a cell that is none."""
    try:
        return to_set(labels_of(cell, data.label_separator))
    except ValueError as error:
        raise UserError(f"{where}: {data.label_column!r}: {error}") from None


def join_texts(cells: Sequence[str]) -> str:
    """Return the text of the cells of its columns: those that are not empty, joined by a space."""
    return cells[0] if len(cells) == 1 else " ".join(cell for cell in cells if cell)


def _reader(data: Table, parts: dict[SplitName, Path], progress: Progress) -> Callable[[], Iterator[Document]]:
    def read() -> Iterator[Document]:
        for part, path in parts.items():
            for number, text, label in _labeled(path, data, progress):
                yield Document(f"{part or 'train'}/{number}", text, label, part)

    return read


SAMPLE = 1000
"""Number of texts from which a tokenizer is inferred."""


def survey(data: Table, progress: Progress = no_progress) -> tuple[list[str], int]:
    """Return the first texts of the training file and the number of its rows.

    Raises UserError like `open_table` and `read_rows`.
    """
    open_table(data)
    sample, count = [], 0
    for _, text, _ in _labeled(user_path(data.source), data, progress):
        count += 1
        if count <= SAMPLE:
            sample.append(text)
    return sample, count


__all__ = ["LONGEST", "Row", "is_table", "open_table", "read_rows", "survey", "whole_cells"]
