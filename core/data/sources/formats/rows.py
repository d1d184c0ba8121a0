"""Rows of tables of any format, and the checks of their columns and cells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError
from core.strings import shorten

LONGEST = 5_000_000
"""Maximum characters per cell of a table. A longer one indicates an unclosed quote."""

TOO_LONG = f"a cell of more than {LONGEST:,} characters"

LABEL_FIELDS = ("`data.text_column`", "`data.label_column`")


class Pairs(list):
    """Ordered fields of a JSON object, including repeated names."""

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self))


@dataclass(slots=True)  # a frozen one takes three times as long to make
class Row:
    """One row: `number` below the header, from 1, and stripped `cells` of the requested columns."""

    number: int
    cells: list[str]
    names: Sequence[str] = ()
    """Names of all columns that were read."""
    values: Sequence[object] = ()
    """Values of these columns, unchanged (see `whole_cells`)."""


def whole_cells(row: Row, columns: Sequence[str]) -> list[str]:
    """Return the cells of all columns of a row, unchanged, in the order of `columns`: "" for a missing one.

    A list or an object is written as JSON.
    """
    if list(row.names) != list(columns):
        found = dict(zip(row.names, row.values, strict=True))
        return [_shown(found.get(name)) for name in columns]
    return [_shown(value) for value in row.values]


def _shown(value: object) -> str:
    if value is None or isinstance(value, str):
        text = value or ""
    else:
        text = json.dumps(_without_pairs(value), ensure_ascii=False, default=str)
        text = str(json.loads(text)) if text.startswith('"') else text  # a date
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _without_pairs(value: object) -> object:
    """Return a value of JSON with its objects as dictionaries."""
    if isinstance(value, Pairs):
        return {name: _without_pairs(own) for name, own in value}
    return [_without_pairs(own) for own in value] if isinstance(value, list) else value


class Header:
    """The columns of a table, and the places of those to read. Raises UserError if one is missing or repeated.

    `unit` is what the places of rows count: lines of a file, or rows of a sheet.
    """

    def __init__(
        self, path: Path, names: Sequence[str], columns: Sequence[str], unit: str = "line", source: str = "the header"
    ) -> None:
        for column in columns:
            if (count := list(names).count(column)) > 1:
                raise UserError(f"{path}: {count} columns are named {column!r}: rename all but one")
            if column not in names:
                fields = " and ".join(LABEL_FIELDS[: len(columns)])
                raise UserError(f"{path}: no column {column!r} in {source} ({shown_names(names)}): set {fields}")
        self.path, self.names, self.unit, self.source = path, list(names), unit, source
        self.places = [self.names.index(column) for column in columns]

    def row(self, number: int, place: int, cells: list[str]) -> Row:
        """Return row `number`, which ends in line `place`. Raises UserError for wrong cells."""
        if len(cells) != len(self.names) or len(max(cells, key=len)) > LONGEST:
            raise self._error(f"{self.path}: row {number} ({self.unit} {place})", cells)
        return Row(number, [cells[place].strip() for place in self.places], self.names, cells)

    def _error(self, where: str, cells: list[str]) -> UserError:
        if len(cells) != len(self.names):
            return UserError(
                f"{where}: got {len(cells)} cells, expected {len(self.names)} as in {self.source}"
                f" ({shown_names(self.names)}): in a .csv, quote texts that contain the separator or a line break"
            )
        return UserError(f"{where}: {TOO_LONG}: shorten it")


def shown_names(names: Sequence[str]) -> str:
    """Return column names for a message."""
    more = f", ... {len(names) - 20} more" if len(names) > 20 else ""
    return (", ".join(shorten(name, 40) for name in names[:20]) or "none") + more


def cell_text(value: object, where: str, column: str, listed: bool = False) -> str:
    """Return the text of a decoded value: of JSON or Parquet. With `listed` a list is written as JSON.

    Raises UserError, naming `where` and `column`: several values, a NUL character, too long.
    """
    if value is None:
        return ""
    if listed and isinstance(value, list) and not isinstance(value, Pairs):
        value = json.dumps(_without_pairs(value), ensure_ascii=False, default=str)
    if isinstance(value, list | dict | tuple):
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


def missing_package(path: Path, package: str, extra: str) -> UserError:
    """Return the error of a format whose package is not installed."""
    return UserError(
        f'{path}: reading this format requires the package {package}: pip install "seqtwin[{extra}]", or save the file'
        f" as .csv"
    )
