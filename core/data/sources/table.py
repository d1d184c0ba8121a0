"""One's own texts: rows of CSV (`.csv`, RFC 4180), TSV (`.tsv`, `.tab`) and JSONL (`.jsonl`, `.ndjson`), also `.gz`.

Read row by row, so that a file may be larger than the memory. What cannot be understood is refused with its row.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from core.data.documents import Document, Source
from core.data.download import Progress, file_digest, no_progress
from core.errors import UserError
from core.files import user_path
from core.spec.data import Table
from core.strings import shorten

FORMATS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
DELIMITERS = (",", ";", "\t", "|")
"""That a `.csv` may have: the first by which its header holds the wanted columns."""

LONGEST = 5_000_000
"""Characters in a cell. In a longer one a quote was left open, and the rest of the file would follow."""

TOO_LONG = f"a cell of more than {LONGEST:,} characters"

csv.field_size_limit(LONGEST)  # its own limit is 131,072; there is one for the process

PACKED = (gzip.BadGzipFile, EOFError, zlib.error)


@dataclass(frozen=True, slots=True)
class Row:
    """`number` counts the rows below the header from 1; `cells` are the wanted columns, stripped of outer space."""

    number: int
    cells: list[str]


def format_of(path: Path) -> str | None:
    """`csv`, `tsv` or `jsonl` by the file's name; None for another."""
    name = path.name.lower().removesuffix(".gz")
    return FORMATS.get(Path(name).suffix)


def read_rows(
    path: Path, columns: list[str], encoding: str, progress: Progress = no_progress, optional: tuple[str, ...] = ()
) -> Iterator[Row]:
    """Rows with the cells of `columns`, then those of `optional`, "" where the file has no such column.

    Raises UserError: a missing or twice-named column, an empty file, a row with more or fewer cells than the header, a
    cell that is too long, a quote left open, bytes that are not in `encoding`, NUL, a damaged .gz.
    """
    _check_file(path)
    check_encoding(encoding)
    lines = _Lines(path, encoding, progress)
    parse = {"csv": _csv, "tsv": _tsv, "jsonl": _jsonl}[format_of(path)]
    return parse(path, lines, columns, optional)


class _Lines:
    """Decoded lines of a file, with their ends; `number` is that of the last one."""

    def __init__(self, path: Path, encoding: str, progress: Progress) -> None:
        self.path, self.encoding, self.progress, self.number = path, encoding, progress, 0

    def __iter__(self) -> Iterator[str]:
        try:
            with self.path.open("rb") as raw:
                size = self.path.stat().st_size
                packed = self.path.name.lower().endswith(".gz")
                with gzip.open(raw) if packed else raw as file:
                    # Bytes, not characters: none has more than four.
                    while line := file.readline(4 * LONGEST):
                        self.number += 1
                        if len(line) >= 4 * LONGEST:
                            raise UserError(f"{self.where}: a line of more than {4 * LONGEST:,} bytes: is it a table?")
                        if self.number % 5000 == 0:
                            self.progress(f"reading {self.path.name}", raw.tell(), size)
                        yield self._decoded(line)
                self.progress(f"reading {self.path.name}", size, size)
        except PACKED as error:
            raise UserError(f"{self.path}: truncated or damaged ({error}): copy or pack it again") from None
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror or error})") from None

    def _decoded(self, line: bytes) -> str:
        if self.number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UserError(f"{self.path}: UTF-16: save it as UTF-8")
        if self.number == 1 and b"\r" in line.rstrip(b"\r\n"):
            raise UserError(f"{self.path}: its lines end in CR alone, as on old Macs: save it with LF or CRLF")
        if b"\0" in line:
            raise UserError(f"{self.where}: a NUL byte: not a text, or UTF-16: save it as UTF-8")
        try:
            text = line.decode(self.encoding)
        except UnicodeError as error:
            place = f" at byte {error.start} of the line" if isinstance(error, UnicodeDecodeError) else ""
            raise UserError(
                f"{self.where}: not {self.encoding.upper()}{place}: convert that row, or"
                f" name the whole file's encoding (`data.encoding` gb18030 for Chinese, cp1252 for Western, from Excel)"
            ) from None
        return text.removeprefix("\ufeff") if self.number == 1 else text

    @property
    def where(self) -> str:
        return f"{self.path}: line {self.number}"


def _csv(path: Path, lines: _Lines, columns: list[str], optional: tuple[str, ...]) -> Iterator[Row]:
    stream = iter(lines)
    first, delimiters = _header(path, stream), DELIMITERS
    if told := re.fullmatch(r"sep=([,;|:\t])\r?\n?", first):  # Excel's own way to say it
        first, delimiters = _header(path, stream), (told[1],)
    while first.count('"') % 2 and len(first) < LONGEST and (more := next(stream, "")):
        first += more  # a name with a line break in it
    above = lines.number
    try:
        found = [next(csv.reader(io.StringIO(first, newline=""), delimiter=delimiter)) for delimiter in delimiters]
    except csv.Error as error:
        raise UserError(f"{path}: the first line does not name columns ({error})") from None
    suited = [place for place, header in enumerate(found) if set(columns) <= set(_stripped(header))]
    delimiter = delimiters[suited[0] if suited else 0]
    header = _stripped(found[suited[0] if suited else 0])
    places = _places(path, header, columns, optional)
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    number = 0
    try:
        for cells in reader:
            if not cells or (len(cells) == 1 < len(header) and not cells[0].strip()):
                continue  # a blank line
            number += 1
            yield _row(path, number, reader.line_num + above, cells, header, places)
    except csv.Error as error:
        what, advice = str(error), "is a quote left open? A quote within a quoted cell is written twice"
        if "field limit" in what:
            what = TOO_LONG
        elif "new-line character" in what:
            what, advice = "a CR outside of quotes", "put quotes around that cell, or take it out"
        raise UserError(f"{path}: row {number + 1} (it ends in line {lines.number}): {what}: {advice}") from None


def _tsv(path: Path, lines: _Lines, columns: list[str], optional: tuple[str, ...]) -> Iterator[Row]:
    """A line is a row, and quotes are characters like others, but for those around a whole cell."""
    stream = iter(lines)
    header = _stripped(_cells(_header(path, stream)))
    places = _places(path, header, columns, optional)
    number = 0
    for line in stream:
        if "\t" not in line and not line.strip():
            continue
        number += 1
        yield _row(path, number, lines.number, _cells(line), header, places)


def _cells(line: str) -> list[str]:
    cells = line.rstrip("\r\n").split("\t")
    for place, cell in enumerate(cells):
        if len(cell) > 1 and cell[0] == cell[-1] == '"':
            cells[place] = cell[1:-1].replace('""', '"')
    return cells


def _jsonl(path: Path, lines: _Lines, columns: list[str], optional: tuple[str, ...]) -> Iterator[Row]:
    number = 0
    for line in lines:
        if not line.strip():
            continue
        number += 1
        where = f"{path}: row {number} (line {lines.number})"
        try:
            pairs = json.loads(line, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: not JSON ({error}): each line is one object") from None
        if not isinstance(pairs, _Pairs):
            raise UserError(f"{where}: not an object with {' and '.join(columns)}: each line is one object")
        cells = []
        for column in (*columns, *optional):
            values = [value for name, value in pairs if name == column]
            if len(values) > 1:
                raise UserError(f"{where}: {column!r} is there {len(values)} times: name it once")
            if not values and column in columns:
                there = ", ".join(dict.fromkeys(name for name, _ in pairs)) or "none"
                raise UserError(f"{where}: no field {column!r} (fields there: {there})")
            cells.append(_string(values[0] if values else None, where, column))
        yield Row(number, cells)
    if not number:
        raise UserError(f"{path}: empty: each line is one object")


class _Pairs(list):
    """An object's fields in their order, names that stand there twice among them."""


def _string(value: object, where: str, column: str) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        raise UserError(f"{where}: {column!r} holds more than one value: a string or a number is needed")
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value).strip()
    if "\0" in text:
        raise UserError(f"{where}: {column!r} holds a NUL character: take it out")
    if len(text) > LONGEST:
        raise UserError(f"{where}: {column!r}: {TOO_LONG}: shorten it")
    # An escaped half of a character pair is no character, and nothing could write it.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _header(path: Path, stream: Iterator[str]) -> str:
    first = next(stream, "")
    if not first.strip():
        raise UserError(f"{path}: empty: the first line must name the columns")
    return first


def _stripped(cells: list[str]) -> list[str]:
    return [cell.strip() for cell in cells]


def _places(path: Path, header: list[str], columns: list[str], optional: tuple[str, ...]) -> list[int | None]:
    for column in (*columns, *optional):
        if header.count(column) > 1:
            raise UserError(f"{path}: {header.count(column)} columns are named {column!r}: rename all but one")
        if column not in header and column in columns:
            there = ", ".join(shorten(name, 40) for name in header[:20])
            fields = " and ".join(("`data.text_column`", "`data.label_column`")[: len(columns)])
            raise UserError(
                f"{path}: no column {column!r}; columns by its first line: {there}: name them with {fields}"
            )
    return [header.index(column) if column in header else None for column in (*columns, *optional)]


def _row(path: Path, number: int, line: int, cells: list[str], header: list[str], places: list[int | None]) -> Row:
    if len(cells) != len(header):
        raise UserError(
            f"{path}: row {number} (line {line}): {len(cells)} cells, and the header has {len(header)}: a text that"
            f" holds the separator or a line break needs quotes around it, in a .csv"
        )
    if any(len(cell) > LONGEST for cell in cells):
        raise UserError(f"{path}: row {number} (line {line}): {TOO_LONG}: shorten it")
    return Row(number, [cells[place].strip() if place is not None else "" for place in places])


def check_encoding(encoding: str) -> None:
    """Raises UserError for a name that is none, or an encoding in which a line feed is not one byte, or which has
    halves of character pairs."""
    try:
        half = "\ud800".encode(encoding, "ignore").decode(encoding)
        plain = b"\n,x".decode(encoding) == "\n,x" and not half
    except LookupError:
        raise UserError(f"encoding {encoding!r}: not known: try utf-8, gb18030 or cp1252") from None
    except UnicodeError:
        plain = False
    if not plain:
        raise UserError(f"encoding {encoding!r}: lines cannot be told in it: save the file as UTF-8")


def open_table(data: Table, progress: Progress = no_progress) -> Source:
    """The source that a `Table` names. Raises UserError: files missing, the same one twice, or empty of columns."""
    parts = {part: user_path(path) for part, path in _parts(data).items() if path is not None}
    for path in parts.values():
        _check_file(path)
    for part, path in parts.items():
        if any(path.samefile(other) for own, other in parts.items() if own < part):
            raise UserError(f"{path}: given for two parts: a part needs texts of its own, or is left out and cut")
    if data.text_column == data.label_column:
        raise UserError(f"column {data.text_column!r}: named for both text and label")
    check_encoding(data.encoding)
    digests = [f"{part} {file_digest(path, 'sha256')}" for part, path in parts.items()]
    how = [data.text_column, data.label_column, data.encoding]
    fingerprint = hashlib.sha256(json.dumps([digests, how]).encode()).hexdigest()
    for path in parts.values():
        if next(read_rows(path, [data.text_column, data.label_column], data.encoding), None) is None:
            raise UserError(f"{path}: no row below the line that names the columns")
    description = ", ".join(str(path) if part in ("", "train") else f"{part} {path}" for part, path in parts.items())
    return Source("path", description, f"table:{fingerprint}", None, _reader(data, parts, progress), lenient=True)


def _check_file(path: Path) -> None:
    if not path.is_file():
        what = "a folder, not a table" if path.is_dir() else "not a file" if path.exists() else "no such file"
        raise UserError(f"{path}: {what}")
    if format_of(path) is None:
        known = ", ".join(FORMATS)
        raise UserError(f"{path}: not a known kind of table: name it {known}, or one of them with .gz")


def _parts(data: Table) -> dict[str, str | None]:
    # Without a test part of its own, nothing says which texts of the file train.
    return {"train" if data.test is not None else "": data.source, "dev": data.dev, "test": data.test}


def _reader(data: Table, parts: dict[str, Path], progress: Progress) -> Callable[[], Iterator[Document]]:
    def read() -> Iterator[Document]:
        for part, path in parts.items():
            for row in read_rows(path, [data.text_column, data.label_column], data.encoding, progress):
                text, label = row.cells
                yield Document(f"{part or 'train'}/{row.number}", text, " ".join(label.split()), part)

    return read


SAMPLE = 1000
"""Texts to guess a tokenizer from."""


def survey(data: Table, progress: Progress = no_progress) -> tuple[list[str], int]:
    """The first texts of the file to train on, and the number of its rows, read to its end. Raises as `open_table`
    and `read_rows`."""
    open_table(data)
    sample, count = [], 0
    for row in read_rows(user_path(data.source), [data.text_column, data.label_column], data.encoding, progress):
        count += 1
        if count <= SAMPLE:
            sample.append(row.cells[0])
    return sample, count
