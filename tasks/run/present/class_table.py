"""Table of precision, recall and F1 by class."""

from __future__ import annotations

from rich.cells import cell_len

from core.models.heads.scores import ClassScores
from core.strings import shorten
from tasks.cli.console import console
from tasks.cli.terminal import literal

ROWS = 12
"""Maximum number of rows to print; all classes are in `result.json`."""
NAME = 40
"""Maximum characters of a name to print."""


def show_scores(head: str, rows: dict[str, ClassScores], order: list[str], file: str = "result.json") -> None:
    """Print the scores of the first names of `order`; `head` is that of the column of names, `file` holds all."""
    shown = [(shorten(name, NAME), rows[name]) for name in order[:ROWS]]
    width = max(cell_len(name) for name in (head, *(name for name, _ in shown))) + 2
    console.print()
    console.print(literal(f"{_padded(head, width)}precision  recall  F1      count"))
    for name, own in shown:
        figures = f"{own['precision']:.4f}     {own['recall']:.4f}  {own['f1']:.4f}  {own['count']:,}"
        console.print(literal(f"{_padded(name, width)}{figures}"))
    if len(order) > ROWS:
        console.print(f"... and {len(order) - ROWS} more in {file}")


def _padded(name: str, width: int) -> str:
    """Return a name with spaces up to a width in columns of the terminal."""
    return name + " " * (width - cell_len(name))
