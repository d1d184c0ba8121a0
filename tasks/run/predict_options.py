"""Options of a prediction, and counts of its texts."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field

from core.errors import UserError

SHOWN = 5
"""Number of texts without tokens whose numbers are printed."""


@dataclass(frozen=True)
class PredictOptions:
    """Options of a prediction: input and output."""

    file: str | None = None
    """File of texts: a table, or one text per line."""
    explain: bool = False
    page: str | None = None
    """Path of the page of explanations."""
    interactive: bool = False
    out: str | None = None
    """Path of the CSV file of predictions."""
    raw: bool = False
    """Write cells unchanged that a spreadsheet would take for formulas."""
    text_column: str | None = None
    encoding: str | None = None
    """Encoding of the input; that of the run if None, as for `text_column`."""
    calibrate: bool = False
    """Divide the logits by the temperature of the run."""
    minimum: float | None = None
    """Least calibrated probability of an answer; a text below it gets `?`."""
    label: str | None = None
    """Label that is explained, of a run with several labels per text; the most probable one if None."""
    token: int | None = None
    """Number of the token whose tag is explained, from 1; the least certain one if None."""


def check_together(arguments: argparse.Namespace, explain: bool, drawn: str) -> None:
    """Raise UserError for options of `predict` that exclude each other; `drawn` is the flag of its page or picture."""
    given = [arguments.file, arguments.text, arguments.out, getattr(arguments, drawn.removeprefix("--"))]
    if arguments.file and arguments.text:
        raise UserError("TEXT and --file exclude each other: give one")
    if arguments.interactive and any(given):
        raise UserError(f"--interactive reads texts as they are typed: omit TEXT, --file, --out and {drawn}")
    if arguments.out and explain:
        raise UserError("--out and --explain exclude each other: give one")
    if arguments.encoding and arguments.text:
        raise UserError("--encoding applies to --file and standard input, got TEXT: omit one")
    minimum = getattr(arguments, "min_probability", None)
    check_minimum(minimum)
    if explain and (minimum is not None or getattr(arguments, "calibrate", False)):
        raise UserError("--explain shows the probabilities as trained: omit --calibrate and --min-probability")
    if arguments.raw and not arguments.out:
        raise UserError("--raw applies to --out: add --out, or omit it")


def check_minimum(minimum: float | None) -> None:
    """Raise UserError for a least probability outside (0, 1)."""
    if minimum is not None and not 0.0 < minimum < 1.0:
        raise UserError(f"--min-probability {minimum:g}: give a number between 0 and 1, such as 0.8")


@dataclass
class Counts:
    """Numbers of texts: all, those without tokens, and the first of these."""

    texts: int = 0
    empty: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, number: int, empty: bool) -> None:
        self.texts += 1
        self.empty += empty
        if empty and len(self.first) < SHOWN:
            self.first.append(number)

    def describe(self, unit: str) -> str:
        """Return which texts have no prediction."""
        numbers = ", ".join(map(str, self.first)) + (", ..." if self.empty > len(self.first) else "")
        which = f"{unit}{'s' if self.empty > 1 else ''} {numbers}"
        return f"no prediction for {self.empty:,} of {self.texts:,} texts: no tokens ({which})"
