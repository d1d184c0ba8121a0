"""Tables of `tasks.speed`: timings per shape and pass, speedups per framework, the parts of a training step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain

from rich.box import SIMPLE_HEAD
from rich.table import Table

from core.benchmark.shapes import Shape
from core.benchmark.timing import LayerRow, StepRow
from tasks.cli.console import console, fact
from tasks.cli.terminal import literal
from tasks.speed.measure import LENGTHS, PASSES, Measurement, Plan
from tasks.speed.results import RIVALS, compare, kernels

LEGEND = """\
ms: median over rounds; ±: half the interquartile range; GFLOP/s: real tokens only, without padding;
peak: GFLOP/s as a share of the machine's matrix product, which is measured before and after every timing of a quarter
of a second or more. Settings that are clearly slower than others of the same layer are left out where a round is long.
"""
RATIOS_LEGEND = """\
Medians over rounds, fastest setting. torch packed: packed sequences; torch builtin: exact for lengths, by reversal;
Paddle installed: no thread count set. Padded layers compute a different result: the reverse direction starts in the
padding.
"""
STEPS_LEGEND = """\
Steps in the middle of training, on real reviews. batch: padding and transfer to the device; embedding: with its
dropout; backward: all layers; GFLOP/s: matrix products of the encoder, for real tokens, in all passes of a step; peak:
GFLOP/s as a share of the machine's matrix product.
"""
WIDTH = 150
"""Columns of a table: on a narrower terminal its lines wrap, but nothing is lost."""
Lines = dict[tuple[str, ...], dict[str, Sequence[str]]]
"""Cells of a table, by the names at the left of a line, then by column."""


def print_run(plan: Plan, about: dict) -> None:
    """Print the plan, the machine and the versions."""
    own = about["machine"]
    fact("machine", f"{own['processor']}, {own['cores']} usable cores; threads: {about['threads']}")
    versions = (f"{name} {version}" for name, version in about["versions"].items() if name != "cuda")
    fact("versions", f"{', '.join(versions)}; fast layers: {kernels() or 'none'}")
    if plan.shapes:
        shapes, cells = ", ".join(shape.name for shape in plan.shapes), ", ".join(plan.cells)
        passes = " and ".join(PASSES[training] for training in plan.passes)
        lengths = f"lengths {LENGTHS[plan.lengths]}; at most {plan.rounds} rounds"
        fact("layers", f"{shapes}; {cells}; {passes}; {plan.dtype}; {lengths}")
    if plan.recipes:
        fact("steps", f"recipes {', '.join(plan.recipes)}; {plan.step_rounds} rounds")
    for entry in about["environments"]:
        fact("process", f"{entry['name']}: {entry['about']}; threads: {entry['threads']}")
    for name, why in about["left_out"].items():
        fact("skipped", f"{name}: {why}")


def print_results(measured: Measurement) -> None:
    """Print all tables with their legends."""
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


def _table(title: str, left: Sequence[str], columns: Mapping[str, Sequence[str]], lines: Lines) -> Table:
    """Return a table of `lines`, whose keys are those of `columns`, with one or more headings each."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in chain(*columns.values()):
        table.add_column(name, justify="right", no_wrap=True)
    for names, own in lines.items():
        cells = chain(*(own.get(key, [""] * len(headings)) for key, headings in columns.items()))
        table.add_row(*map(literal, names), *cells, style="bold" if names[-1] in ("fast", "whole step") else "")
    return table


def _layers(plan: Plan, shape: Shape, training: bool, rows: list[LayerRow]) -> Table:
    title = f"{shape.name}: {shape}" if shape.name not in str(shape).replace(" ", "") else str(shape)
    title += f"; {PASSES[training]}, {plan.dtype}, {plan.lengths_of(shape).sum():,} real tokens of"
    title += f" {shape.batch * shape.length:,}"
    lines: Lines = defaultdict(dict)
    counts: dict[tuple[str, str], set[int]] = defaultdict(set)
    for row in rows:
        seconds, line = row.seconds, (row.environment, row.implementation)
        spread = f"{(seconds.high - seconds.low) / 2 / seconds.median:.0%}"
        speed = three_digits(row.flops_per_second / 1e9)
        lines[line][row.cell] = three_digits(seconds.median * 1e3), spread, speed, percent(row.share.median)
        counts[line].add(seconds.count)
    for line, found in counts.items():
        lines[line]["rounds"] = ("-".join(map(str, sorted({min(found), max(found)}))),)
    columns = {cell: (f"{cell.upper()}  ms", "±", "GFLOP/s", "peak") for cell in plan.cells}
    return _table(title, ("framework", "layer"), {**columns, "rounds": ("rounds",)}, lines)


def _ratios(backend: str, comparisons: list[dict]) -> Table:
    lines: Lines = defaultdict(dict)
    for found in comparisons:
        ratio = found["ratio"]["median"]
        shown = f"[red]{ratio:.2f}[/]" if ratio < 1 else three_digits(ratio)
        lines[found["shape"], PASSES[found["training"]], found["cell"].upper()][found["against"]] = (shown,)
    timed = {name for line in lines.values() for name in line}
    rivals = {name: (name,) for name in (*(series.name for series in RIVALS), "loop") if name in timed}
    return _table(f"speedup of fast in {backend} over", ("shape", "pass", "cell"), rivals, lines)


def _steps(recipe: str, rows: list[StepRow]) -> Table:
    title = f"training step of recipe {recipe}: median ms of {rows[0].seconds.count} steps, and share"
    lines: Lines = defaultdict(dict)
    for row in rows:
        name = f"{row.backend}, {row.implementation}"
        for part, found in row.parts.items():
            lines[part,][name] = three_digits(found["seconds"].median * 1e3), f"{found['share'].median:.0%}"
        lines["whole step",][name] = three_digits(row.seconds.median * 1e3), ""
        lines["tokens/s",][name] = f"{row.tokens_per_second.median:,.0f}", ""
        lines["GFLOP/s",][name] = three_digits(row.flops_per_second.median / 1e9), ""
        lines["peak",][name] = percent(row.share.median), ""
    table = _table(title, ("part",), {name: (name, "") for name in lines["tokens/s",]}, lines)
    table.rows[-5].end_section = True
    return table


def three_digits(value: float) -> str:
    """Format with about three digits: 1234, 123, 12.3, 1.23, 0.123, 0.0123."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:#.3g}"


def percent(share: float) -> str:
    """Format with two digits: 85%, 8.5%, 0.85%, 0.09%."""
    return f"{share:.0%}" if share >= 0.0995 else f"{share:.1%}" if share >= 0.00995 else f"{share:.2%}"
