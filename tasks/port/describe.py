"""Printed description of a conversion: model, mapping, and what is left open."""

from __future__ import annotations

from pathlib import Path

from core.weights.choices import classifier_head
from core.weights.convert import Port
from core.weights.witness import Fit
from core.weights.witness_logits import TOLERANCE, Witness
from tasks.cli.console import console, fact
from tasks.cli.flags import name_flags
from tasks.cli.terminal import literal

LISTED = 12
"""Maximum number of skipped entries to list."""
OPTIONS = {
    "pooling": "--pooling",
    "hidden activation": "--activation",
    "TextCNN activation": "--encoder-activation",
    "padding": "--padding",
    "linear layers": "--head and --head-hidden, or --linear",
}
"""Options that settle a choice of `core.weights.witness.Candidate.open`."""
NOT_CHECKED = "your model's own forward; give --against FILE:CLASS or --logits FILE"


def describe(port: Port, source: Path) -> None:
    """Print the model found, the mapping of every array and the assumptions."""
    model = port.model
    head = classifier_head(model, str(source))
    dtype = next(iter(port.arrays.values())).dtype
    size = sum(array.size for array in port.arrays.values())
    logits = "one logit" if head.one_logit else f"{head.classes} classes"
    fact("source", str(source))
    fact("model", f"{model.describe()}, {logits}; {size:,} parameters, {dtype}")
    for line in port.notes:
        fact("note", line)
    wide = max(len(row.source) for row in port.rows)
    wide_neutral = max(len(row.neutral) for row in port.rows)
    for number, row in enumerate(port.rows):
        left = row.source or "(zeros)"
        stored = "" if row.source_shape in ((), row.shape) else f", stored as {list(row.source_shape)}"
        fact("" if number else "mapped", f"{left:<{wide}}  {row.neutral:<{wide_neutral}}  {list(row.shape)}{stored}")
    if port.duplicates:
        names = list(port.duplicates)
        fact("aliases", f"{len(names)} duplicate names of equal arrays, e.g. {names[0]}")
    listed("skipped", port.skipped)
    listed("unmapped", port.unplaced)
    for line in port.assumed:
        fact("assumed", name_flags(line))


def listed(heading: str, entries: dict[str, str]) -> None:
    """Print at most `LISTED` entries, and the number of the others."""
    names = list(entries)
    for name in names[:LISTED]:
        fact(heading, f"{name}: {entries[name]}")
    if len(names) > LISTED:
        fact(heading, f"and {len(names) - LISTED} more")


def failed(text: str) -> None:
    """Print what failed."""
    console.print(f"[red]failed[/]   {literal(text)}")


def left_out(unplaced: dict[str, str]) -> str:
    """Return the arrays without a place in one line."""
    names = list(unplaced)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{len(names)} array{'s' * (len(names) != 1)} without a place, {', '.join(names[:3])}{more}"


def describe_fits(fits: list[Fit], witness: Witness) -> None:
    """Print the number of candidates, the best ones, and the choices of the best one."""
    within = [fit for fit in fits if fit.within(witness)]
    texts = len(witness.ids)
    fact("witness", f"{witness.where}: {texts} texts, {witness.precision} logits")
    fact("tried", f"{len(fits)} candidates, {len(within)} within {tolerance(witness)}")
    for fit in within or fits[:1]:
        fact("fits" if within else "nearest", f"{figures(fit)}: {choices_text(fit)}")


def figures(fit: Fit) -> str:
    return f"largest difference {fit.difference:.1e}, relative {fit.relative:.1e}"


def choices_text(fit: Fit) -> str:
    """Return the choices of a candidate in one line."""
    return "; ".join(f"{name}: {value}" for name, value in fit.candidate.open.items())


def options_of(fits: list[Fit]) -> str:
    """Return the options that tell candidates apart."""
    choices = [fit.candidate.open for fit in fits]
    return " or ".join(flag for name, flag in OPTIONS.items() if len({own.get(name) for own in choices}) > 1)


def tolerance(witness: Witness) -> str:
    return f"{TOLERANCE[witness.precision]:.0e} of the largest logit"
