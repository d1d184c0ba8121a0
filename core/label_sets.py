"""Sets of labels of multi-label texts: how a cell of a table and a file name them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Sequence

SEPARATOR = "|"
"""Separator of the labels of a text in all that is written, and the usual one in tables."""


_NO_COMMA = re.compile(r"""['"]\s+['"]""")
"""Two strings of a list without a comma between, which Python would read as one."""


def join_labels(row: Iterable[int], classes: Sequence[str]) -> str:
    """Return the names of the labels that are 1 in a row [C], in their order, joined by `SEPARATOR`; "" for none."""
    return SEPARATOR.join(name for name, own in zip(classes, row, strict=True) if own)


def split_labels(joined: str) -> list[str]:
    """Return the names that `join_labels` joined."""
    return joined.split(SEPARATOR) if joined else []


def labels_of(cell: str, separator: str = SEPARATOR) -> list[str]:
    """Return the labels of a cell, each once, sorted: those of a list, or those between separators.

    A list is one of JSON, or of Python as pandas writes it. Raises ValueError with the reason: a list that cannot be
    read, one in another, a label that contains `SEPARATOR`, by which labels are written.
    """
    found = _listed(cell) if is_list(cell) else cell.split(separator)
    labels = {" ".join(label.split()) for label in found} - {""}
    for label in labels:
        if SEPARATOR in label:
            raise ValueError(f"label {label!r} contains {SEPARATOR}, which separates labels in predictions: rename it")
    return sorted(labels)


def is_list(cell: str) -> bool:
    """Return whether a cell is a list in brackets."""
    return cell.startswith("[") and cell.endswith("]")


def to_set(labels: Sequence[str]) -> str:
    """Return a set of labels as one string, which is not empty: a JSON list."""
    return json.dumps(labels, ensure_ascii=False)


def from_set(joined: str) -> list[str]:
    """Return the labels of a string of `to_set`."""
    return json.loads(joined)


def _listed(cell: str) -> list[str]:
    """Return the items of a list as strings. Raises ValueError."""
    try:
        found = json.loads(cell)
    except ValueError:
        try:
            if _NO_COMMA.search(cell):
                raise ValueError
            found = ast.literal_eval(cell)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            raise ValueError(f'{cell[:60]!r} is no JSON list: write it as ["a", "b"]') from None
    except RecursionError:
        raise ValueError("a list of thousands of lists: give a list of labels") from None
    if not isinstance(found, list):
        raise ValueError(f'{cell[:60]!r} is no JSON list: write it as ["a", "b"]')
    if any(isinstance(item, list | tuple | dict | set) for item in found):
        raise ValueError("a list within a list: give a list of labels")
    return [_text_of(item) for item in found]


def _text_of(item: object) -> str:
    if item is None or isinstance(item, bool):
        return "" if item is None else str(item).lower()
    return str(item)
