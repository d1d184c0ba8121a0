"""Tables of delimited lines: CSV (RFC 4180) and TSV, with any of four delimiters.

In a file of tabs, quotes are ordinary characters, except around an entire cell, if every line is a row. Otherwise a
quoted cell may contain tabs and line breaks, as in a CSV.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from core.data.download import Progress, no_progress
from core.data.sources.formats.rows import LONGEST, TOO_LONG
from core.data.text_files import TextLines
from core.errors import UserError

DELIMITERS = (",", ";", "\t", "|")

TAB_SUFFIXES = (".tsv", ".tab")
"""Suffixes for which a tab is tried first."""

SAMPLE_LINES, SAMPLE_SIZE = 200, 1_000_000
"""Lines and characters from which the delimiter is detected."""

EXCEL_LINE = re.compile(r"sep=([,;|:\t])\r?\n?")
"""First line by which Excel names the delimiter."""

csv.field_size_limit(LONGEST)  # process-wide; the default is 131,072

Suits = Callable[[list[str]], bool]
"""Tells whether the cells of the first row can be the header."""


@dataclass(frozen=True)
class Dialect:
    """How the lines of a file are split.

    Without `quoted` every line is a row. With `marked` the first line is Excel's `sep=`.
    """

    delimiter: str
    quoted: bool = True
    marked: bool = False


def detect_dialect(path: Path, encoding: str, suits: Suits, width: int | None = None) -> Dialect:
    """Return the dialect of a file.

    The delimiter is the first one for which the first row `suits` as a header; otherwise the one that splits most lines
    of a sample into `width` cells, or, if that is None, into equally many. Raises UserError like `TextLines`.
    """
    sample, marked = _sample(TextLines(path, encoding))
    if marked is not None:
        return Dialect(marked, marked=True)
    name = path.name.lower().removesuffix(".gz")
    hint = "\t" if name.endswith(TAB_SUFFIXES) else ","
    order = sorted(DELIMITERS, key=lambda delimiter: delimiter != hint)
    split = {delimiter: _split(sample, delimiter) for delimiter in order}
    suited = [delimiter for delimiter in order if width is None and any(map(suits, split[delimiter][:1]))]
    delimiter = suited[0] if suited else max(order, key=lambda own: _consistency(split[own], width))
    if delimiter != "\t":
        return Dialect(delimiter)
    return Dialect("\t", quoted=_is_quoted(path, encoding, width))


def read_records(
    path: Path, encoding: str, dialect: Dialect, header: bool, progress: Progress = no_progress
) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines in which the records end, and their cells; the first record is the header if there is one.

    Raises UserError: an unclosed quote, a cell that is too long, a CR outside of quotes, and like `TextLines`.
    """
    lines = TextLines(path, encoding, progress)
    stream = iter(lines)
    if dialect.marked:
        next(stream)
    if not dialect.quoted:
        yield from ((lines.number, _cells(line)) for line in stream)
        return
    reader = csv.reader(stream, delimiter=dialect.delimiter, strict=True)
    number = -int(header)
    try:
        for cells in reader:
            number += len(cells) > 1 or not _is_blank(cells)
            yield lines.number, cells
    except csv.Error as error:
        what, advice = str(error), "close every quote, and double quotes within a quoted cell"
        if "field limit" in what:
            what = TOO_LONG
        elif "unexpected end" in what:
            what = "a quote is not closed"
        elif "new-line character" in what:
            what, advice = "a CR outside of quotes", "quote that cell, or remove the CR"
        if number < 0:
            raise UserError(f"{path}: the first line is not a valid header ({what}): name the columns there") from None
        raise UserError(f"{path}: row {number + 1} (ends in line {lines.number}): {what}: {advice}") from None


def _sample(lines: TextLines) -> tuple[list[str], str | None]:
    """Return the first lines that are not blank, and the delimiter of Excel's first line, if any."""
    found, size = [], 0
    for line in islice(lines, SAMPLE_LINES):
        if lines.number == 1 and (marker := EXCEL_LINE.fullmatch(line)):
            return [], marker[1]
        if line.strip():
            found.append(line)
        size += len(line)
        if size > SAMPLE_SIZE:
            break
    return found, None


def _split(sample: list[str], delimiter: str) -> list[list[str]]:
    """Return the records of a sample; the last may be incomplete, so only a single one is kept."""
    if delimiter == "\t":
        return [stripped(_cells(line)) for line in sample]
    records = []
    try:
        for cells in csv.reader(iter(sample), delimiter=delimiter):
            records.append(stripped(cells))
    except csv.Error:
        pass
    return records[:-1] if len(records) > 1 and len(sample) >= SAMPLE_LINES else records


def _consistency(records: list[list[str]], width: int | None) -> float:
    """Return the share of records with `width` cells, or with the most frequent number of them above 1."""
    counts = Counter(len(record) for record in records)
    if width is not None:
        return counts[width] / max(len(records), 1)
    return max((count for size, count in counts.items() if size > 1), default=0) / max(len(records), 1)


def _is_quoted(path: Path, encoding: str, width: int | None) -> bool:
    """Return whether quoted cells of a file of tabs contain tabs or line breaks.

    They do if not every line is a row, and if the whole file can be read so.
    """
    plain = Dialect("\t", quoted=False)
    if _is_rectangular(read_records(path, encoding, plain, True), width):
        return False
    try:
        return _is_rectangular(read_records(path, encoding, Dialect("\t"), True), width)
    except UserError:
        return False


def _is_rectangular(records: Iterator[tuple[int, list[str]]], width: int | None) -> bool:
    for _, cells in records:
        if _is_blank(cells):
            continue
        width = width or len(cells)
        if len(cells) != width:
            return False
    return True


def without_blanks(records: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    """Yield the records that are not blank lines. In a table of one column, a line of spaces is a cell."""
    width = 0
    for place, cells in records:
        if len(cells) < 2 and _is_blank(cells) and (width != 1 or not cells or not cells[0]):
            continue
        width = width or len(cells)
        yield place, cells


def _is_blank(cells: list[str]) -> bool:
    return not cells or (len(cells) == 1 and not cells[0].strip())


def stripped(cells: Sequence[str]) -> list[str]:
    """Return the cells without spaces around them."""
    return [cell.strip() for cell in cells]


def _cells(line: str) -> list[str]:
    cells = line.rstrip("\r\n").split("\t")
    for place, cell in enumerate(cells):
        if len(cell) > 1 and cell[0] == cell[-1] == '"':
            cells[place] = cell[1:-1].replace('""', '"')
    return cells
