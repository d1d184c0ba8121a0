"""Labeled texts from tables, plain or `.gz`.

Formats: CSV (`.csv`, RFC 4180), TSV (`.tsv`, `.tab`) and JSONL (`.jsonl`, `.ndjson`). Files are read row by row and may
exceed memory. Errors name the invalid row.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.data.documents import Document, Source, SplitName
from core.data.download import Progress, file_digest, no_progress
from core.data.encodings import check_encoding
from core.data.text_files import TextLines
from core.errors import UserError
from core.files import user_path
from core.spec.data import Table
from core.strings import shorten

FORMATS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
DELIMITERS = (",", ";", "\t", "|")
"""Delimiters of a `.csv`; the first that yields the required columns in the header is used."""

LONGEST = 5_000_000
"""Maximum characters per cell of a table. A longer one indicates an unclosed quote."""

TOO_LONG = f"a cell of more than {LONGEST:,} characters"

csv.field_size_limit(LONGEST)  # process-wide; the default is 131,072


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `number` below the header, from 1, and stripped `cells` of the requested columns."""

    number: int
    cells: list[str]
    names: Sequence[str] = ()
    """Names of all columns."""
    values: Sequence[object] = ()
    """Values of all columns, unchanged (see `whole_cells`)."""


def format_of(path: Path) -> str | None:
    """Return `csv`, `tsv` or `jsonl` by the file name, None for another suffix."""
    name = path.name.lower().removesuffix(".gz")
    return FORMATS.get(Path(name).suffix)


def read_rows(
    path: Path, columns: list[str], encoding: str, progress: Progress = no_progress, optional: tuple[str, ...] = ()
) -> Iterator[Row]:
    """Yield rows with the cells of `columns`, then `optional` ("" for a missing column).

    Raises UserError: a missing or repeated column, an empty file, a row with more or fewer cells than the header, a
    cell that is too long, an unclosed quote, bytes that are not in `encoding`, NUL, a damaged .gz.
    """
    parse = {"csv": _csv, "tsv": _tsv, "jsonl": _jsonl}[_check_file(path)]
    check_encoding(encoding)
    return parse(path, TextLines(path, encoding, progress), columns, optional)


def _csv(path: Path, lines: TextLines, columns: list[str], optional: tuple[str, ...]) -> Iterator[Row]:
    stream = iter(lines)
    first, delimiters = _first_line(path, stream), DELIMITERS
    if told := re.fullmatch(r"sep=([,;|:\t])\r?\n?", first):  # Excel's separator line
        first, delimiters = _first_line(path, stream), (told[1],)
    while first.count('"') % 2 and len(first) < LONGEST and (more := next(stream, "")):
        first += more  # a column name that contains a line break
    above = lines.number
    try:
        found = [next(csv.reader(io.StringIO(first, newline=""), delimiter=delimiter)) for delimiter in delimiters]
    except csv.Error as error:
        raise UserError(f"{path}: the first line is not a valid header ({error}): name the columns there") from None
    suited = [place for place, header in enumerate(found) if set(columns) <= set(_stripped(header))]
    delimiter = delimiters[suited[0] if suited else 0]
    header = _Header(path, _stripped(found[suited[0] if suited else 0]), columns, optional)
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    number = 0
    try:
        for cells in reader:
            if not cells or (len(cells) == 1 < len(header.names) and not cells[0].strip()):
                continue  # a blank line
            number += 1
            yield header.row(number, reader.line_num + above, cells)
    except csv.Error as error:
        what, advice = str(error), "close every quote, and double quotes within a quoted cell"
        if "field limit" in what:
            what = TOO_LONG
        elif "new-line character" in what:
            what, advice = "a CR outside of quotes", "quote that cell, or remove the CR"
        raise UserError(f"{path}: row {number + 1} (ends in line {lines.number}): {what}: {advice}") from None


def _tsv(path: Path, lines: TextLines, columns: list[str], optional: tuple[str, ...]) -> Iterator[Row]:
    """Yield one row per line. Quotes are ordinary characters, except around an entire cell."""
    stream = iter(lines)
    header = _Header(path, _stripped(_cells(_first_line(path, stream))), columns, optional)
    number = 0
    for line in stream:
        if "\t" not in line and not line.strip():
            continue
        number += 1
        yield header.row(number, lines.number, _cells(line))


def _cells(line: str) -> list[str]:
    cells = line.rstrip("\r\n").split("\t")
    for place, cell in enumerate(cells):
        if len(cell) > 1 and cell[0] == cell[-1] == '"':
            cells[place] = cell[1:-1].replace('""', '"')
    return cells


def _jsonl(path: Path, lines: TextLines, columns: list[str], optional: tuple[str, ...]) -> Iterator[Row]:
    number = 0
    for line in lines:
        if not line.strip():
            continue
        number += 1
        where = f"{path}: row {number} (line {lines.number})"
        try:
            pairs = json.loads(line, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: not JSON ({error}): write one object per line") from None
        if not isinstance(pairs, _Pairs):
            raise UserError(f"{where}: not an object with {' and '.join(columns)}: write one object per line")
        cells = []
        for column in (*columns, *optional):
            values = [value for name, value in pairs if name == column]
            if len(values) > 1:
                raise UserError(f"{where}: {column!r} occurs {len(values)} times: keep one")
            if not values and column in columns:
                there = ", ".join(dict.fromkeys(name for name, _ in pairs)) or "none"
                raise UserError(f"{where}: no field {column!r} (fields: {there}): add it")
            cells.append(_string(values[0] if values else None, where, column))
        yield Row(number, cells, [name for name, _ in pairs], [value for _, value in pairs])
    if not number:
        raise UserError(f"{path}: empty: write one object per line")


class _Pairs(list):
    """Ordered fields of a JSON object, including repeated names."""


def _string(value: object, where: str, column: str) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        raise UserError(f"{where}: {column!r} holds more than one value: give a string or a number")
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value).strip()
    if "\0" in text:
        raise UserError(f"{where}: {column!r} contains a NUL character: remove it")
    if len(text) > LONGEST:
        raise UserError(f"{where}: {column!r}: {TOO_LONG}: shorten it")
    # An escaped lone surrogate is not a character and cannot be written as UTF-8.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _first_line(path: Path, stream: Iterator[str]) -> str:
    first = next(stream, "")
    if not first.strip():
        raise UserError(f"{path}: empty: the first line must name the columns")
    return first


def _stripped(cells: list[str]) -> list[str]:
    return [cell.strip() for cell in cells]


class _Header:
    """The columns of a table, and the places of those to read. Raises UserError if one is missing or repeated."""

    def __init__(self, path: Path, names: list[str], columns: list[str], optional: tuple[str, ...]) -> None:
        for column in (*columns, *optional):
            if names.count(column) > 1:
                raise UserError(f"{path}: {names.count(column)} columns are named {column!r}: rename all but one")
            if column not in names and column in columns:
                there = ", ".join(shorten(name, 40) for name in names[:20])
                fields = " and ".join(("`data.text_column`", "`data.label_column`")[: len(columns)])
                raise UserError(f"{path}: no column {column!r} in the header ({there}): set {fields}")
        self.path, self.names = path, names
        self.places = [names.index(column) if column in names else None for column in (*columns, *optional)]

    def row(self, number: int, line: int, cells: list[str]) -> Row:
        """Return row `number`, which ends in `line`. Raises UserError for wrong cells."""
        if len(cells) != len(self.names):
            raise UserError(
                f"{self.path}: row {number} (line {line}): got {len(cells)} cells, expected {len(self.names)} as in the"
                f" header: in a .csv, quote texts that contain the separator or a line break"
            )
        if any(len(cell) > LONGEST for cell in cells):
            raise UserError(f"{self.path}: row {number} (line {line}): {TOO_LONG}: shorten it")
        own = [cells[place].strip() if place is not None else "" for place in self.places]
        return Row(number, own, self.names, cells)


def whole_cells(row: Row, columns: list[str]) -> list[str]:
    """Return the cells of all columns of a row, unchanged, in the order of `columns`: "" for a missing one.

    A list or an object of JSONL is written as JSON.
    """
    if row.names != columns:
        found = dict(zip(row.names, row.values, strict=True))
        return [_shown(found.get(name)) for name in columns]
    return [_shown(value) for value in row.values]


def _shown(value: object) -> str:
    if value is None or isinstance(value, str):
        text = value or ""
    elif isinstance(value, list):
        text = json.dumps(_plain(value), ensure_ascii=False)
    else:
        text = json.dumps(value)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _plain(value: object) -> object:
    """Return a value of JSONL with its objects as dictionaries."""
    if isinstance(value, _Pairs):
        return {name: _plain(own) for name, own in value}
    return [_plain(own) for own in value] if isinstance(value, list) else value


def open_table(data: Table, progress: Progress = no_progress) -> Source:
    """Open the source named by a `Table`.

    Raises UserError: a file missing, repeated, or without rows.
    """
    parts: dict[SplitName, Path] = {part: user_path(path) for part, path in _parts(data).items() if path is not None}
    for path in parts.values():
        _check_file(path)
    for part, path in parts.items():
        if any(path.samefile(other) for own, other in parts.items() if own < part):
            raise UserError(f"{path}: given for two splits: give different files, or omit one to hold it out")
    if data.text_column == data.label_column:
        raise UserError(f"column {data.text_column!r}: given for both text and label: name two columns")
    check_encoding(data.encoding)
    digests = [f"{part} {file_digest(path, 'sha256')}" for part, path in parts.items()]
    how = [data.text_column, data.label_column, data.encoding]
    fingerprint = hashlib.sha256(json.dumps([digests, how]).encode()).hexdigest()
    for path in parts.values():
        if next(read_rows(path, [data.text_column, data.label_column], data.encoding), None) is None:
            raise UserError(f"{path}: no row below the header: add labeled texts")
    description = ", ".join(str(path) if part in ("", "train") else f"{part} {path}" for part, path in parts.items())
    return Source("path", description, f"table:{fingerprint}", None, _reader(data, parts, progress), lenient=True)


def _check_file(path: Path) -> str:
    """Return the format of a table. Raises UserError if the file is none."""
    if not path.is_file():
        what = "a folder, not a table" if path.is_dir() else "not a file" if path.exists() else "no such file"
        raise UserError(f"{path}: {what}: give the path of a table")
    kind = format_of(path)
    if kind is None:
        known = ", ".join(FORMATS)
        raise UserError(f"{path}: unknown table format: use a suffix of {known}, optionally with .gz")
    return kind


def _parts(data: Table) -> dict[SplitName, str | None]:
    # Without a test file, all splits are held out of `source`, so its texts are unmarked.
    return {"train" if data.test is not None else "": data.source, "dev": data.dev, "test": data.test}


def _reader(data: Table, parts: dict[SplitName, Path], progress: Progress) -> Callable[[], Iterator[Document]]:
    def read() -> Iterator[Document]:
        for part, path in parts.items():
            for row in read_rows(path, [data.text_column, data.label_column], data.encoding, progress):
                text, label = row.cells
                yield Document(f"{part or 'train'}/{row.number}", text, " ".join(label.split()), part)

    return read


SAMPLE = 1000
"""Number of texts from which a tokenizer is inferred."""


def survey(data: Table, progress: Progress = no_progress) -> tuple[list[str], int]:
    """Return the first texts of the training file and the number of its rows.

    Raises UserError like `open_table` and `read_rows`.
    """
    open_table(data)
    sample, count = [], 0
    for row in read_rows(user_path(data.source), [data.text_column, data.label_column], data.encoding, progress):
        count += 1
        if count <= SAMPLE:
            sample.append(row.cells[0])
    return sample, count
