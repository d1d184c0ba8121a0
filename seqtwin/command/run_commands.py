"""Commands for a run of any task, which its record names: `predict`, `explain`, `evaluate` and `resume`."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from core.errors import UserError
from core.report.run_list import task_of
from core.strings import shorten
from core.train.run_folder import PLAN, RECORD
from seqtwin.command.programs import PROGRAMS, RUN_COMMANDS, load
from tasks.cli.console import Parser
from tasks.cli.recipes import TASK_RECIPES
from tasks.run.latest import LATEST, named_run

WITHOUT_PREDICTIONS = ("pretrain",)
"""Tasks whose models predict nothing of a text."""
HELP = ("-h", "--help")


def perform(command: str, argv: list[str]) -> int:
    """Run `predict`, `explain`, `evaluate` or `resume` with the program of the run. Return the exit code.

    Raises UserError without a run, and for one whose program does not have the command.
    """
    place = _place_of_run(argv)
    if place is None:
        if any(own in HELP for own in argv):
            _help(command)
        raise UserError(f"{command} needs a run folder: seqtwin {command} RUN, where RUN may be {LATEST}")
    tasks = () if command == "resume" else tuple(own for own in TASK_RECIPES if own not in _without(command))
    run = named_run(argv[place], tasks, finished=command != "resume")
    before, after = argv[:place], argv[place + 1 :]
    name = task_of(Path(run))
    if name not in PROGRAMS:
        raise UserError(f"{run}: run of task {shorten(name, 80)}, which this version does not have: update seqtwin")
    _check(command, run, name)
    first = {"resume": ["--resume", run], "explain": ["predict", run, "--explain"]}.get(command, [command, run])
    return load(name).main([*first, *before, *after])


def _place_of_run(argv: list[str]) -> int | None:
    """Return the index of the first argument that names a run.

    One after an option may be the value of that option: it is passed over, unless it is a run.
    """
    for number, own in enumerate(argv):
        if own.startswith("-"):
            continue
        after_option = number > 0 and argv[number - 1].startswith("-")
        if not after_option or own == LATEST or any((Path(own) / name).is_file() for name in (RECORD, PLAN)):
            return number
    return None


def _without(command: str) -> tuple[str, ...]:
    return () if command == "evaluate" else WITHOUT_PREDICTIONS


def _check(command: str, run: str, name: str) -> None:
    """Raise UserError for a run whose program does not have the command."""
    if command == "resume":
        return
    if not (Path(run) / RECORD).is_file():
        inner = next((own.parent for own in sorted(Path(run).glob(f"*/{RECORD}"))), None)
        inner = inner or next((own.parent for own in sorted(Path(run).glob(f"*/*/{RECORD}"))), None)
        fix = f"give one of them, such as {inner}" if inner else "resume it first"
        raise UserError(f"{run}: a folder of several runs: {fix}")
    if name not in TASK_RECIPES:
        other = {"digit_sum": "seqtwin gates", "word2vec": "seqtwin words"}.get(name, f"seqtwin {name}")
        raise UserError(f"{run}: run of task {name}, expected one of {', '.join(TASK_RECIPES)}: see {other} --help")


def _help(command: str) -> NoReturn:
    """Print the help of a command without a run, and end."""
    other = "" if command == "resume" else f" {command}"
    parser = Parser(
        prog=f"seqtwin {command}",
        add_help=False,
        usage=f"seqtwin {command} RUN ...",
        description=f"{RUN_COMMANDS[command]}. RUN is a run folder, or {LATEST}: the newest"
        f" {'stopped' if command == 'resume' else 'finished'} run in runs. Its record names the task.",
        epilog=f"Its options are those of the task: seqtwin {command} RUN --help, or seqtwin imdb{other} --help.",
    )
    parser.print_help()
    raise SystemExit(0)
