"""Print the result of a comparison: the first difference, the calls in order of execution, and the rungs."""

from __future__ import annotations

from collections.abc import Sequence

from core.report.twin import figure_of, first_row, in_units, limit_of, rung_name
from core.strings import middle
from core.twin.kinds import FRAMEWORK_NAMES
from core.twin.verdict import Finding, Row, Verdict
from tasks.cli.console import console, fact
from tasks.cli.terminal import literal

NONE = "\u2013"
MOST_ROWS = 40
"""Largest number of calls that are shown in full."""
AROUND = 8
"""Calls shown before and after the first difference of a longer table, and at both ends."""
WIDEST = 44
"""Largest width of a column of modules."""


def print_verdict(verdict: Verdict) -> None:
    """Print all of it; the JSON file has what is left out here."""
    console.print()
    _print_first(verdict)
    marked = first_row(verdict)
    mode = verdict.rows[marked - 1].mode if marked else next((own.mode for own in verdict.rows), "")
    rows = [(number, own) for number, own in enumerate(verdict.rows, start=1) if own.mode == mode]
    if rows:
        _print_rows(rows, marked, mode, [name for name in FRAMEWORK_NAMES if name in verdict.names])
    _print_pairing(verdict)
    _print_rungs(verdict.findings)
    for text in verdict.warnings:
        console.print(f"[yellow]note:[/] {literal(text)}")
    text = literal(verdict.sentence())
    console.print(f"[green]{text}[/]" if verdict.same else f"[red]different[/]  {text}")


def _print_first(verdict: Verdict) -> None:
    finding = verdict.first
    if finding is None:
        return
    mode = f", {finding.mode} mode" if finding.mode else ""
    console.print(f"[red]first difference[/]  rung {finding.rung}, {rung_name(finding)}{mode}")
    fact("", finding.sentence, 16)
    cause = finding.cause
    if cause is not None:
        if finding.why:
            fact("likely cause", finding.why, 16)
        for name, path in cause.paths.items():
            fact(FRAMEWORK_NAMES[name], path or "the model itself", 16)
        if cause.link:
            fact("more", f"docs/differences.md#{cause.link}", 16)
    console.print()


def _print_rows(rows: Sequence[tuple[int, Row]], marked: int | None, mode: str, names: Sequence[str]) -> None:
    """Print calls in order of execution, the first difference marked."""
    cells = {number: [_module(own, name) for name in names] for number, own in rows}
    labels = [FRAMEWORK_NAMES[name] for name in names]
    columns = zip(labels, *cells.values(), strict=True)
    widths = [max(map(len, column)) for column in columns]
    heads = "  ".join(f"{label:<{width}}" for label, width in zip(labels, widths, strict=True))
    console.print(f"[bold]calls of layers, {literal(mode)} mode, in order of execution[/]")
    console.print(f"[dim]      {literal(heads)}  {'inputs':>8}  {'outputs':>8}  {'gradients':>9}[/]")
    shown, last = _shown([number for number, _ in rows], marked), 0
    for place, (number, own) in enumerate(rows):
        if number not in shown:
            continue
        if place > last:
            console.print(f"[dim]      ... {place - last} more[/]")
        last = place + 1
        line = "  ".join(f"{text:<{width}}" for text, width in zip(cells[number], widths, strict=True))
        figures = f"{_figure(own.inputs):>8}  {_figure(own.outputs):>8}  {_figure(own.gradients):>9}"
        note = f"  {own.note}" if own.note else ""
        if number == marked:
            console.print(f"[bold red]{number:>4}> {literal(line)}  {figures}  first difference{literal(note)}[/]")
        else:
            console.print(f"{number:>4}  {literal(line)}  {figures}[dim]{literal(note)}[/]")
    if last < len(rows):
        console.print(f"[dim]      ... {len(rows) - last} more[/]")
    console.print()


def _shown(numbers: Sequence[int], marked: int | None) -> set[int]:
    """Return the numbers of the rows to print: all of a short table, else both ends and around the marked one."""
    if len(numbers) <= MOST_ROWS:
        return set(numbers)
    place = numbers.index(marked) if marked in numbers else 0
    return {*numbers[:AROUND], *numbers[-AROUND:], *numbers[max(place - AROUND, 0) : place + AROUND + 1]}


def _module(row: Row, name: str) -> str:
    if name not in row.paths:
        return NONE
    return middle(f"{row.paths[name] or '(model)'} {row.classes.get(name, '')}", WIDEST)


def _print_pairing(verdict: Verdict) -> None:
    own = verdict.pairing
    for text in own.notes:
        fact("matched", text, 10)
    for group in own.ambiguous:
        fact("ambiguous", f"equal shapes, told apart by the order of execution: {', '.join(group)} (--map decides)", 10)
    for name, names in own.left.items():
        if names:
            fact("left out", f"only in {FRAMEWORK_NAMES[name]}: {', '.join(names)}", 10)


def _print_rungs(findings: Sequence[Finding]) -> None:
    wide = max((len(rung_name(own)) for own in findings), default=0) + 2
    console.print(f"[dim]{'rung':<{wide}}  {'mode':<10}  {'arrays':>6}  {'difference':>10}  {'limit':>7}  result[/]")
    for own in findings:
        result = "[green]same[/]" if own.passed else "[red]DIFFERENT[/]"
        name, figures = f"{own.rung} {rung_name(own)}", f"{figure_of(own):>10}  {limit_of(own):>7}"
        console.print(f"{name:<{wide}}  {own.mode or NONE:<10}  {own.compared:>6}  {figures}  {result}")
    if any(map(in_units, findings)):
        console.print(
            "[dim]a unit is the rounding of the model itself: its float32 outputs less its float64 outputs[/]"
        )


def _figure(value: float | None) -> str:
    if value is None:
        return NONE
    return "0" if value == 0 else f"{value:.1e}" if value != float("inf") else "infinite"
