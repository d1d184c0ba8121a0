"""List the runs of a folder: task, recipe, backend, state and main figure of each, newest first.

python -m tasks.runs
python -m tasks.runs OTHER/runs --json
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from rich.cells import cell_len, set_cell_size

from core.report.figures import NONE
from core.report.run_list import DAMAGED, FINISHED, ListedRun, list_runs
from core.strings import middle, one_line
from tasks.cli.commands import program_command
from tasks.cli.console import QUANTITIES, Parser, console, launch
from tasks.cli.terminal import literal, note
from tasks.run.latest import RUNS

PROGRAM = "tasks.runs"
COLUMNS = ("run", "task", "recipe", "backend", "state", "dev", "test", "figure", "age")
FIRST_LEFT_OUT = ("recipe", "task", "backend", "figure", "age", "dev")
"""Columns that a narrow terminal leaves out, in this order."""
LEAST_NAME = 28
"""Width to which a narrow terminal shortens names before it leaves out columns."""
UNITS = ((86400 * 365, "years"), (86400, "days"), (3600, "h"), (60, "min"), (1, "s"))
"""Seconds and names of the units of an age."""


def main(argv: list[str]) -> int:
    parser = Parser(
        prog=program_command(PROGRAM),
        description="List the runs of a folder, newest first: task, recipe, backend, state, age, and the main figure on"
        " dev and test: accuracy, F1, exact match or perplexity.",
        epilog="States: finished; running; stopped, with the step of the checkpoint; damaged, with a note. The runs of"
        " --backend both, --cross-validate and tasks.bench follow the folder that holds them.",
    )
    parser.add_argument("folder", metavar="DIR", nargs="?", default=str(RUNS), help=f"folder of runs [{RUNS}]")
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    arguments = parser.parse_args(argv)
    folder = Path(arguments.folder)
    runs = list_runs(folder)
    if arguments.json:
        print(json.dumps([_tree(own) for own in runs], ensure_ascii=False, indent=1))
        return 0
    if not runs:
        console.print(literal(f"no runs in {folder}"))
        return 0
    base = folder if folder != runs[0].path else folder.parent
    rows = [_row(own, base, datetime.now().astimezone()) for own in runs]
    _show(rows, console.width if console.is_terminal else None)
    sys.stdout.flush()
    for own in runs:
        if own.state == DAMAGED:
            note(own.problem)
    return 0


def _tree(run: ListedRun) -> dict:
    return {**asdict(run), "path": str(run.path), "started": run.started.isoformat(timespec="seconds")}


def _row(run: ListedRun, base: Path, now: datetime) -> dict[str, str]:
    """Return the cells of a run by column."""
    state = run.state
    if run.runs is not None:
        state += f", {run.runs[0]} of {run.runs[1]} runs"
    elif state != FINISHED and run.step is not None:
        state += f" at step {run.step:,}"
    figure = (
        f"{run.figure} {run.train:.4f} (training)" if run.train is not None else QUANTITIES.get(run.figure, run.figure)
    )
    digits = 2 if run.figure == "perplexity" else 4
    dev, test = (NONE if value is None else f"{value:.{digits}f}" for value in (run.dev, run.test))
    name = one_line(str(run.path.relative_to(base)))
    age = age_of((now - run.started).total_seconds())
    return dict(zip(COLUMNS, (name, run.task, run.recipe, run.backend, state, dev, test, figure, age), strict=True))


def age_of(seconds: float) -> str:
    """Return a time span in its largest unit of which it has at least two, as `17 days`."""
    seconds = max(seconds, 0.0)
    size, name = next((own for own in UNITS if seconds >= 2 * own[0]), UNITS[-1])
    return f"{int(seconds // size)} {name}"


def _show(rows: list[dict[str, str]], width: int | None) -> None:
    """Print the table within a width, None for any: names become shorter, then columns are left out."""
    columns = list(COLUMNS)
    widths = {name: max(len(name), *(cell_len(row[name]) for row in rows)) for name in columns}

    def excess() -> int:
        return sum(widths[name] + 2 for name in columns) - 2 - (width or 0) if width is not None else 0

    floor = min(widths["run"], LEAST_NAME)
    for name in FIRST_LEFT_OUT:
        if excess() - (widths["run"] - floor) > 0:
            columns.remove(name)
    widths["run"] = max(widths["run"] - max(excess(), 0), min(floor, 8))
    head = "  ".join(name.ljust(widths[name]) for name in columns).rstrip()
    console.print(f"[bold]{head[:width]}[/]")
    for row in rows:
        name = row["run"]
        shown = {**row, "run": name if cell_len(name) <= widths["run"] else middle(name, widths["run"])}
        line = "  ".join(set_cell_size(shown[own], widths[own]) for own in columns).rstrip()
        console.print(literal(line if width is None else set_cell_size(line, width).rstrip()))


if __name__ == "__main__":
    launch(main)
