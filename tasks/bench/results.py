"""Read the finished runs of a plan, and write and print the table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.files import write_bytes_atomic, write_text_atomic
from core.plots.bench import Series, bench_png
from core.report.bench import Entry, bench_page, csv_runs, csv_table, markdown, table
from core.report.runs import read_run
from tasks.bench.models import MODELS
from tasks.bench.plan import Plan
from tasks.cli.console import console, fact
from tasks.cli.terminal import literal

REPORT, PICTURE = "report.html", "accuracy.png"
MARKDOWN, TABLE, RUNS = "table.md", "table.csv", "runs.csv"


def entries_of(plan: Plan) -> list[Entry]:
    """Read all runs, which must be finished: the models in the order of the plan, one framework after the other."""
    runs = {
        (job.backend, job.model, job.seed): read_run(job.path, f"{job.backend}/{job.model}-seed{job.seed}")
        for job in plan.jobs()
    }
    return [
        Entry(
            model,
            MODELS[model].title,
            MODELS[model].about,
            backend,
            tuple(runs[backend, model, seed] for seed in plan.seeds),
        )
        for model in plan.models
        for backend in plan.backends
    ]


def write_results(plan: Plan) -> None:
    """Write the page, the table as Markdown and CSV, the runs as CSV, and the picture; print the table."""
    entries = entries_of(plan)
    series = [Series(own.title, own.backend, own.accuracies, own.seconds) for own in entries]
    seeds = f"{len(plan.seeds)} seed{'s' * (len(plan.seeds) != 1)}"
    picture = bench_png(series, f"{plan.task}: test accuracy, {seeds}")
    write_bytes_atomic(plan.folder / PICTURE, picture)
    write_text_atomic(plan.folder / MARKDOWN, markdown(entries))
    write_text_atomic(plan.folder / TABLE, csv_table(entries))
    write_text_atomic(plan.folder / RUNS, csv_runs(entries))
    # Written last: the page marks the bench as finished. A folder name may contain bytes that are not valid text.
    write_bytes_atomic(plan.folder / REPORT, bench_page(entries, picture).encode("utf-8", "replace"))
    _show(entries, plan.folder)


def _show(entries: Sequence[Entry], folder: Path) -> None:
    rows = [{"model": title, **own} for title, own in table(entries)]
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    console.print()
    console.print("[bold]" + "  ".join(name.ljust(width) for name, width in widths.items()).rstrip() + "[/]")
    for row in rows:
        console.print(literal("  ".join(row[name].ljust(width) for name, width in widths.items()).rstrip()))
    console.print()
    fact("table", f"{folder / TABLE}, {MARKDOWN}; all runs {RUNS}")
    fact("picture", str(folder / PICTURE))
    fact("report", str(folder / REPORT))
