"""Rows of the words that a user asks for, and what is wrong with the others."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from core.errors import UserError
from core.words.nearest import spellings
from core.words.vector_table import VectorTable


def known_rows(table: VectorTable, words: Sequence[str], every: bool = False) -> list[int]:
    """Return the rows of the distinct words that the table has; with `every`, of all words.

    Warns about others. Raises UserError if no word is left, or with `every` for a missing one.
    """
    rows, unknown = [], []
    for word in words if every else dict.fromkeys(words):
        row = table.rows.get(word)
        if row is not None and table.norms[row] > 0:
            rows.append(row)
        else:
            unknown.append(f"{word!r} ({_why(table, word, row)})")
    if unknown:
        message = f"{table.name} has no vector for {', '.join(unknown)}"
        if every or not rows:
            raise UserError(f"{message}: check the spelling, or give other words")
        warnings.warn(message, stacklevel=2)
    return rows


def _why(table: VectorTable, word: str, row: int | None) -> str:
    if row is not None:
        return "its vector is zero"
    near = spellings(word, table.words)
    return f"nearest spellings: {', '.join(near)}" if near else "no similar spelling"
