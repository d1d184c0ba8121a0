"""How timings are shown: a table per shape and pass, one of ratios per framework, one of the parts of a step."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from core.benchmark.shapes import Shape
from core.benchmark.step_profile import PARTS
from core.benchmark.timing import Row
from tasks.cli.console import console
from tasks.speed.measure import Plan, Results, StepRow
from tasks.speed.results import RIVALS, compare

LEGEND = """\
ms: median of the rounds; ±: half of what lies between its quartiles; GFLOP/s: of real tokens, padding not counted;
peak: that as a share of the machine's matrix product, measured beside every timing.
"""
RATIOS_LEGEND = """\
Medians over rounds; of several settings the fastest. torch packed: its own handling of lengths; torch builtin: exact by
reversal; Paddle installed: without being told its threads. Padded layers compute another thing: the reverse direction
starts in the padding.
"""
STEPS_LEGEND = """\
In the middle of training, on real reviews. batch: padding and placing it; embedding: with its dropout; backward:
through all layers.
"""
WIDTH = 150
"""Columns of a table at most: where the terminal has fewer its lines wrap, but nothing is cut off."""


def print_results(plan: Plan, results: Results) -> None:
    if results.rows:
        console.print(f"\n[dim]{LEGEND}[/]")
    for shape in plan.shapes:
        for training in plan.passes:
            rows = [row for row in results.rows if row.shape == shape.name and row.training == training]
            if rows:
                _print(_layers(plan, shape, training, rows))
    bases = dict.fromkeys(row.backend for row in results.rows if row.implementation == "fast")
    for backend in bases:
        _print(_ratios(results.rows, backend))
    if bases:
        console.print(f"[dim]{RATIOS_LEGEND}[/]")
    for recipe in dict.fromkeys(row.recipe for row in results.steps):
        _print(_steps(recipe, [row for row in results.steps if row.recipe == recipe]))
    if results.steps:
        console.print(f"[dim]{STEPS_LEGEND}[/]")


def _print(table: Table) -> None:
    console.width = max(WIDTH, console.width)
    console.print(table)


def _table(title: str, *names: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in names:
        table.add_column(name, no_wrap=True)
    return table


def _layers(plan: Plan, shape: Shape, training: bool, rows: list[Row]) -> Table:
    tokens = int(plan.lengths_of(shape).sum())
    title = f"{shape.name}: {shape}" if shape.name not in str(shape).replace(" ", "") else str(shape)
    title += f"; {'training' if training else 'inference'}, {plan.dtype}, {tokens:,} of"
    title += f" {shape.batch * shape.length:,} tokens real"
    table = _table(title, "framework", "layer")
    for cell in plan.cells:
        for name in (f"{cell.upper()}  ms", "±", "GFLOP/s", "peak"):
            table.add_column(name, justify="right", no_wrap=True)
    table.add_column("rounds", justify="right", no_wrap=True)
    for environment, implementation in dict.fromkeys((row.environment, row.implementation) for row in rows):
        own = {row.cell: row for row in rows if (row.environment, row.implementation) == (environment, implementation)}
        figures = [text for cell in plan.cells for text in (_figures(own[cell]) if cell in own else [""] * 4)]
        counts = sorted({len(row.timings) for row in own.values()})
        style = "bold" if implementation == "fast" else ""
        rounds = "-".join(map(str, counts if len(counts) < 3 else (counts[0], counts[-1])))
        table.add_row(escape(environment), implementation, *figures, rounds, style=style)
    return table


def _figures(row: Row) -> list[str]:
    seconds = row.seconds
    spread = (seconds.high - seconds.low) / 2 / seconds.median
    speed = three_digits(row.flops_per_second / 1e9)
    return [three_digits(seconds.median * 1e3), f"{spread:.0%}", speed, percent(row.share.median)]


def _ratios(rows: list[Row], backend: str) -> Table:
    found = {(comparison.base.case, comparison.rival): comparison.ratio.median
             for comparison in compare(rows) if comparison.base.backend == backend}  # fmt: skip
    title = f"fast in {backend} is so many times as fast as"
    table = _table(title, "shape", "pass", "cell")
    rivals = [rival.name for rival in RIVALS if any(name == rival.name for _, name in found)]
    for name in rivals:
        table.add_column(name, justify="right", no_wrap=True)
    for case in dict.fromkeys(case for case, _ in found):
        shape, cell, training = case
        values = [found.get((case, name)) for name in rivals]
        shown = [
            "" if value is None else f"[red]{value:.2f}[/]" if value < 1 else three_digits(value) for value in values
        ]
        table.add_row(escape(shape), "training" if training else "inference", cell.upper(), *shown)
    return table


def _steps(recipe: str, rows: list[StepRow]) -> Table:
    rounds = max(len(row.timings) for row in rows)
    table = _table(f"a training step of the recipe {recipe}: median ms of {rounds} steps, and share", "part")
    for row in rows:
        table.add_column(f"{escape(row.backend)}, {row.implementation}", justify="right", no_wrap=True)
        table.add_column("", justify="right", no_wrap=True)
    for part in PARTS:
        figures = []
        for row in rows:
            seconds, share = row.part(part)
            figures += [three_digits(seconds.median * 1e3), f"{share.median:.0%}"]
        table.add_row(part, *figures)
    table.add_section()
    whole = [text for row in rows for text in (three_digits(row.seconds.median * 1e3), "")]
    table.add_row("whole step", *whole, style="bold")
    table.add_row("tokens/s", *(text for row in rows for text in (f"{row.tokens_per_second.median:,.0f}", "")))
    return table


def three_digits(value: float) -> str:
    """1234, 123, 12.3, 1.23, 0.123, 0.0123"""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:#.3g}"


def percent(share: float) -> str:
    """85%, 8.5%, 0.85%, 0.09%"""
    return f"{share:.0%}" if share >= 0.0995 else f"{share:.1%}" if share >= 0.00995 else f"{share:.2%}"
