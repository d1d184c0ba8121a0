"""How timings are shown: a table per shape and pass, one of ratios per framework, one of the parts of a step."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from core.benchmark.shapes import Shape
from core.benchmark.timing import LayerRow, StepRow
from tasks.cli.console import console, fact
from tasks.speed.measure import LENGTHS, PASSES, Measurement, Plan
from tasks.speed.results import RIVALS, compare, kernels

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


def print_run(plan: Plan, about: dict) -> None:
    """Print what is about to be timed, and where."""
    own = about["machine"]
    fact("machine", f"{own['processor']}, {own['cores']} cores may be used; threads: {about['threads']}")
    versions = (f"{name} {version}" for name, version in about["versions"].items() if name != "cuda")
    fact("versions", f"{', '.join(versions)}; our layers: {kernels() or 'none'}")
    if plan.shapes:
        shapes, cells = ", ".join(shape.name for shape in plan.shapes), ", ".join(plan.cells)
        passes = " and ".join(PASSES[training] for training in plan.passes)
        lengths = f"lengths {LENGTHS[plan.lengths]}; at most {plan.rounds} rounds"
        fact("layers", f"{shapes}; {cells}; {passes}; {plan.dtype}; {lengths}")
    if plan.recipes:
        fact("steps", f"of the recipes {', '.join(plan.recipes)}; {plan.step_rounds} rounds")
    for entry in about["environments"]:
        fact("process", f"{entry['name']}: {entry['about']}; threads: {entry['threads']}")
    for name, why in about["left_out"].items():
        fact("left out", f"{name}: {why}")


def print_results(measured: Measurement) -> None:
    """Print all tables, each kind with its legend."""
    plan = measured.plan
    console.width = max(WIDTH, console.width)
    if measured.rows:
        console.print(f"\n[dim]{LEGEND}[/]")
    for shape in plan.shapes:
        for training in plan.passes:
            rows = [row for row in measured.rows if (row.shape, row.training) == (shape.name, training)]
            if rows:
                console.print(_layers(plan, shape, training, rows))
    comparisons = compare(measured.rows)
    fast_in = dict.fromkeys(row.backend for row in measured.rows if row.implementation == "fast")
    for backend in fast_in:
        console.print(_ratios(backend, [found for found in comparisons if found["fast_in"] == backend]))
    if fast_in:
        console.print(f"[dim]{RATIOS_LEGEND}[/]")
    for recipe in dict.fromkeys(row.recipe for row in measured.steps):
        console.print(_steps(recipe, [row for row in measured.steps if row.recipe == recipe]))
    if measured.steps:
        console.print(f"[dim]{STEPS_LEGEND}[/]")


def _table(title: str, left: Sequence[str], right: Sequence[str]) -> Table:
    """A table with columns of names on the left, of figures on the right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _layers(plan: Plan, shape: Shape, training: bool, rows: list[LayerRow]) -> Table:
    title = f"{shape.name}: {shape}" if shape.name not in str(shape).replace(" ", "") else str(shape)
    title += f"; {PASSES[training]}, {plan.dtype}, {plan.lengths_of(shape).sum():,} of"
    title += f" {shape.batch * shape.length:,} tokens real"
    figures = [name for cell in plan.cells for name in (f"{cell.upper()}  ms", "±", "GFLOP/s", "peak")]
    table = _table(title, ("framework", "layer"), (*figures, "rounds"))
    by_line: dict[tuple[str, str], dict[str, LayerRow]] = {}
    for row in rows:
        by_line.setdefault((row.environment, row.implementation), {})[row.cell] = row
    for (environment, implementation), own in by_line.items():
        cells = [text for cell in plan.cells for text in (_figures(own[cell]) if cell in own else [""] * 4)]
        counts = {len(row.timings) for row in own.values()}
        rounds = "-".join(str(count) for count in sorted({min(counts), max(counts)}))
        style = "bold" if implementation == "fast" else ""
        table.add_row(escape(environment), implementation, *cells, rounds, style=style)
    return table


def _figures(row: LayerRow) -> list[str]:
    seconds = row.seconds
    spread = (seconds.high - seconds.low) / 2 / seconds.median
    speed = three_digits(row.flops_per_second / 1e9)
    return [three_digits(seconds.median * 1e3), f"{spread:.0%}", speed, percent(row.share.median)]


def _ratios(backend: str, comparisons: list[dict]) -> Table:
    timed = {found["against"] for found in comparisons}
    rivals = [name for name in (*(series.name for series in RIVALS), "loop") if name in timed]
    table = _table(f"fast in {backend} is so many times as fast as", ("shape", "pass", "cell"), rivals)
    by_line: dict[tuple[str, ...], dict[str, str]] = {}
    for found in comparisons:
        line = escape(found["shape"]), PASSES[found["training"]], found["cell"].upper()
        ratio = found["ratio"]["median"]
        shown = f"[red]{ratio:.2f}[/]" if ratio < 1 else three_digits(ratio)
        by_line.setdefault(line, {})[found["against"]] = shown
    for line, shown in by_line.items():
        table.add_row(*line, *(shown.get(rival, "") for rival in rivals))
    return table


def _steps(recipe: str, rows: list[StepRow]) -> Table:
    title = f"a training step of the recipe {recipe}: median ms of {len(rows[0].timings)} steps, and share"
    names = [text for row in rows for text in (f"{escape(row.backend)}, {row.implementation}", "")]
    table = _table(title, ("part",), names)
    parts = [row.parts for row in rows]
    for part in parts[0]:
        figures = ((own[part]["seconds"].median * 1e3, own[part]["share"].median) for own in parts)
        table.add_row(part, *(text for ms, share in figures for text in (three_digits(ms), f"{share:.0%}")))
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
