"""The columns of a table: found by usual names, and told apart from a first row that is data."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.data.sources.formats.rows import shown_names
from core.errors import UserError
from core.strings import shorten

TEXT_NAMES = (
    *("text", "review", "content", "sentence", "comment", "body", "text_a", "review_text", "review_body", "tweet"),
    *("message", "description", "\u6587\u672c", "\u8bc4\u8bba", "\u5185\u5bb9", "\u6b63\u6587", "\u8bc4\u4ef7"),
    *("headline", "title", "\u6807\u9898"),
)
"""Usual names of text columns, the most specific first: a title is the text only if there is no other."""

LABEL_NAMES = (
    *("label", "labels", "sentiment", "category", "class", "target", "polarity", "class_index", "rating", "stars"),
    *("\u6807\u7b7e", "\u7c7b\u522b", "\u60c5\u611f", "\u8bc4\u5206"),
)
"""Usual names of label columns, the most specific first."""

WORDS, CHARACTERS = 4, 30
"""A cell of so many words or characters is a text, and no column name."""

DISTINCT = 0.5
"""Share of distinct values above which a column holds no labels."""


@dataclass(frozen=True)
class Inferred:
    """A spec field of a table whose value was inferred, and why."""

    field: str
    value: str | tuple[str, ...]
    reason: str


def usual_name(names: Sequence[str], usual: Sequence[str], without: Collection[str] = ()) -> str | None:
    """Return the column with the first of the `usual` names, in any case, or None."""
    found = {_plain(name): name for name in reversed(names) if name not in without}
    for name in usual:
        if name in names and name not in without:
            return name
        if _plain(name) in found:
            return found[_plain(name)]
    return None


def infer_text_columns(names: Sequence[str], without: Collection[str] = ()) -> tuple[str, ...]:
    """Return all columns with usual names of texts, in the order of the table, or the only column that is left."""
    known = {_plain(name) for name in TEXT_NAMES}
    left = [name for name in names if name not in without]
    return tuple(name for name in left if _plain(name) in known) or tuple(left if len(left) == 1 else ())


def is_header(cells: Sequence[str]) -> bool:
    """Return whether all cells that are not empty are usual names of columns."""
    known = {_plain(name) for name in (*TEXT_NAMES, *LABEL_NAMES, "id", "")}
    return any(map(str.strip, cells)) and all(_plain(cell) in known for cell in cells)


def check_no_header(path: Path, cells: Sequence[str], names: Sequence[str]) -> None:
    """Raise UserError if the first row of a table with given `names` is a header line."""
    if [cell.strip() for cell in cells] == list(names) or is_header(cells):
        raise UserError(
            f"{path}: the first row is a header line ({shown_names(cells)}): omit `data.columns`, or remove that line"
        )


def data_hint(first: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the end of a message if a first row looks like data, "" if it can be a header.

    It does if a cell is a number, a text, empty or a value that the same column has again.
    """
    if is_header(first):
        return ""
    columns = [[row[place].strip() for row in rows if len(row) == len(first)] for place in range(len(first))]
    data = any(
        _is_number(cell) or len(cell.split()) >= WORDS or len(cell) >= CHARACTERS or (cell and cell in column)
        for cell, column in zip(first, columns, strict=True)
    )
    if not data:
        return ""
    shown = ", ".join(shorten(cell, 30) for cell in first[:6])
    names = ",".join(_guessed_names([[cell, *column] for cell, column in zip(first, columns, strict=True)]))
    return (
        f"the first row looks like data ({shown}): name the columns by `data.columns`, e.g. {names}; if it is a header,"
        f" set `data.text_column` and `data.label_column`"
    )


def _guessed_names(columns: list[list[str]]) -> list[str]:
    """Return plausible names of columns: the longest one is the text, the one with fewest values the label."""
    lengths = [sum(map(len, column)) / len(column) for column in columns]
    kinds = [len(set(column)) / len(column) for column in columns]
    text = lengths.index(max(lengths))
    others = [place for place in range(len(columns)) if place != text]
    label = min(others, key=lambda place: (kinds[place], lengths[place]), default=None)
    names = [f"column{place + 1}" for place in range(len(columns))]
    names[text] = "text"
    if label is not None:
        names[label] = "label"
    titles = [place for place in others if place != label and lengths[place] >= 10 and kinds[place] > DISTINCT]
    if titles:
        names[titles[0]] = "title"
    return names


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(?:[.,]\d+)*", cell) is not None
