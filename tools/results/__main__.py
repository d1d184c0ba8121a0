"""Train the recipes with several seeds, and write their table and picture into docs/results.md.

    python -m tools.results run --recipes default,hybrid --seeds 10-14 --data aclImdb.tar.gz --out runs/results
    python -m tools.results runs/results                          # prints the table
    python -m tools.results runs/results --write docs/results.md  # also results.json and results.png beside it

`run` skips finished runs and resumes stopped ones. Options after `--` go to the program of the task.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import backends
from core.errors import UserError, forget_notes
from core.files import write_text_atomic
from tasks.cli.console import Parser, fact, launch
from tasks.cli.recipes import TASK_RECIPES
from tools.results import page, picture, stored
from tools.results.runner import Plan, check_frameworks, parse_seeds, run_missing

JSON, PICTURE = "results.json", "results.png"
"""Files beside the page: the figures, and the picture of them."""


def main(argv: list[str]) -> int:
    forget_notes()
    if argv[:1] == ["run"]:
        return _run(argv[1:])
    parser = Parser(
        prog="python -m tools.results",
        description="Print the table of finished runs; `run` trains them (run --help).",
    )
    parser.add_argument("runs", metavar="RUNS_DIR", nargs="?", help="folder of run folders [none: the stored figures]")
    parser.add_argument("--write", metavar="PAGE", help="update this page, its results.json and results.png")
    arguments = parser.parse_args(argv)
    if arguments.runs is None and arguments.write is None:
        raise UserError("nothing to read: give a folder of runs, or --write with a page that has stored figures")
    _show(arguments.runs and Path(arguments.runs), arguments.write and Path(arguments.write))
    return 0


def _show(runs: Path | None, out: Path | None) -> None:
    """Print the table of the runs, joined with the stored figures of a page, which is written."""
    rows = [] if runs is None else stored.collect(runs)
    if out is not None:
        rows = stored.merged(stored.read(out.with_name(JSON)), rows)
    print(page.tables(rows))
    if out is None:
        return
    if not rows:
        raise UserError(f"{out.with_name(JSON)}: no stored figures: give a folder of runs")
    text = page.replaced(out.read_text(encoding="utf-8"), rows, str(out))
    stored.write(out.with_name(JSON), rows)
    picture.draw(rows, out.with_name(PICTURE))
    write_text_atomic(out, text)
    fact("written", f"{out}, {out.with_name(JSON)}, {out.with_name(PICTURE)}")


def _run(argv: list[str]) -> int:
    """Train the runs that are missing, then print the table. Return the exit code."""
    more = argv[argv.index("--") + 1 :] if "--" in argv else []
    argv = argv[: argv.index("--")] if "--" in argv else argv
    parser = Parser(
        prog="python -m tools.results run",
        description="Train every recipe with every seed in every framework, one process after the other.",
    )
    parser.add_argument("--task", default="imdb", metavar="T", help="program of the task [imdb]")
    parser.add_argument("--recipes", default="default", metavar="R", help="recipes, with commas [default]")
    parser.add_argument("--seeds", default="10-14", metavar="N", help="seeds, such as 10-14 or 0,1,2 [10-14]")
    parser.add_argument("--backends", default=",".join(backends.NAMES), metavar="B", help="frameworks [all]")
    parser.add_argument("--data", metavar="PATH", help="data of the task [that of the recipe]")
    parser.add_argument("--out", metavar="DIR", default="runs/results", help="folder of the runs [runs/results]")
    arguments = parser.parse_args(argv)
    plan = _plan(arguments, more)
    if code := run_missing(plan):
        return code
    print()
    _show(plan.folder, None)
    return 0


def _plan(arguments: argparse.Namespace, more: list[str]) -> Plan:
    """Return the runs to train. Raises UserError for an unknown task, recipe or framework, before any training."""
    if arguments.task not in TASK_RECIPES:
        raise UserError(f"--task {arguments.task}: choose one of {', '.join(TASK_RECIPES)}")
    recipes, frameworks = arguments.recipes.split(","), arguments.backends.split(",")
    for name in recipes:
        if name not in TASK_RECIPES[arguments.task]:
            known = ", ".join(TASK_RECIPES[arguments.task])
            raise UserError(f"--recipes {arguments.recipes}: unknown {name}: choose from {known}")
    check_frameworks(frameworks)
    options = [*(["--data", arguments.data] if arguments.data else []), *more]
    seeds = parse_seeds(arguments.seeds)
    return Plan(arguments.task, recipes, seeds, frameworks, Path(arguments.out), options)


if __name__ == "__main__":
    launch(main)
