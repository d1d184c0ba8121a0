"""Evaluate a run of a text task: the arguments of the command."""

from __future__ import annotations

from core.errors import UserError
from tasks.cli.commands import run_command
from tasks.cli.console import Parser
from tasks.cli.paths import cache_folder
from tasks.run.command_options import backend_option, cache_option
from tasks.run.evaluators import EVALUATORS, FAST
from tasks.run.latest import named_run
from tasks.run.program import Program
from tasks.run.worker import Request


def evaluate_command(program: Program, argv: list[str]) -> int:
    """Evaluate with these arguments. Return the exit code."""
    # Imported here, so that the help is printed without them.
    from tasks.run.evaluate import evaluate_run
    from tasks.run.evaluate_file import evaluate_file, labeled_file

    parser = Parser(
        prog=run_command(program.task.program, "evaluate"),
        description="Evaluate a run's best checkpoint with any backend and compare it with the saved predictions.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder")
    known = f"{', '.join(program.splits[:-1])} or {program.splits[-1]}"
    parser.add_argument("--split", metavar="S", default="test", help=f"split to evaluate: {known} [test]")
    moved = [flag for flag in ("--data", "--dev", "--test") if flag == "--data" or flag in program.own_arguments]
    for flag in moved:
        what = "data" if flag == "--data" else f"{flag[2:]} file"
        parser.add_argument(flag, metavar="PATH", help=f"new path of the run's {what}, if moved")
    if not program.tags:
        parser.add_argument("--file", metavar="FILE", help="new texts with labels, instead of a split: a table")
        parser.add_argument("--text-column", metavar="NAME", help="with --file: text column [the run's, or inferred]")
        parser.add_argument("--label-column", metavar="NAME", help="with --file: label column [the run's, or inferred]")
        parser.add_argument("--encoding", metavar="NAME", help="with --file: its encoding [the run's, or utf-8]")
        parser.add_argument("--out", metavar="FILE", help="with --file: write all mistakes to this CSV file")
    backend_option(parser, f"backend: {', '.join(EVALUATORS)} [{FAST}, or the run's]")
    cache_option(parser)
    arguments = parser.parse_args(argv)
    if not program.tags and (own := labeled_file(arguments, moved)) is not None:
        run = named_run(arguments.run, (program.task.name,))
        return evaluate_file(run, Request.read(arguments), own, arguments.out)
    if arguments.split not in program.splits:
        raise UserError(f"--split {arguments.split}: choose one of {', '.join(program.splits)}")
    request = Request.read(arguments)
    cache = cache_folder(arguments.cache_dir)
    fields = {"--data": "data.source", "--dev": "data.dev", "--test": "data.test"}
    places = {fields[flag]: getattr(arguments, flag[2:]) for flag in moved}
    places = {field: path for field, path in places.items() if path is not None}
    run = named_run(arguments.run, (program.task.name,))
    return evaluate_run(run, request, places, arguments.split, cache)
