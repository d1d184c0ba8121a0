"""Predict with a run of a text task: the arguments of the command."""

from __future__ import annotations

from core.errors import UserError
from tasks.cli.commands import run_command
from tasks.cli.console import Parser
from tasks.run.command_options import backend_option
from tasks.run.evaluators import EVALUATORS, FAST, NUMPY
from tasks.run.latest import named_run
from tasks.run.predict import predict
from tasks.run.predict_options import PredictOptions, check_together
from tasks.run.program import Program
from tasks.run.worker import Request


def predict_command(program: Program, argv: list[str]) -> int:
    """Predict with these arguments. Return the exit code."""
    parser = Parser(
        prog=run_command(program.task.program, "predict"),
        description=program.predicts,
        epilog=f"Without TEXT or --file, lines are read from standard input; blank lines are skipped. {program.writes}",
    )
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("text", metavar="TEXT", nargs="*", help="text to classify, in quotes")
    parser.add_argument("--file", metavar="FILE", help="one text per line, or a table of any format")
    parser.add_argument("--text-column", metavar="NAME", help="text column of a table [the run's]")
    parser.add_argument("--encoding", metavar="NAME", help="encoding of the input [the run's, or utf-8]")
    parser.add_argument("--out", metavar="FILE", help="write predictions to this CSV file")
    parser.add_argument("--raw", action="store_true", help="with --out: keep cells that begin with = + - @")
    parser.add_argument("--explain", action="store_true", help="show each word's effect on the prediction")
    if program.tags:
        parser.add_argument("--token", metavar="N", type=int, help="explain the tag of token N [the least certain]")
    if program.several_labels:
        text = "explain this label of several [the most probable]"
        parser.add_argument("--label", metavar="NAME", help=text)
    parser.add_argument("--html", metavar="FILE", help="also write the explanations as a page")
    parser.add_argument("--interactive", action="store_true", help="classify texts as you type them")
    if not program.tags:
        parser.add_argument("--calibrate", action="store_true", help="probabilities calibrated on the run's dev texts")
        text = "answer ? below this calibrated probability"
        parser.add_argument("--min-probability", metavar="P", type=float, help=text)
    backend_option(parser, f"backend: {', '.join(EVALUATORS)} [{FAST}, or {NUMPY}]")
    # Texts may follow options, which plain argparse rejects.
    arguments = parser.parse_intermixed_args(argv)
    token, label = getattr(arguments, "token", None), getattr(arguments, "label", None)
    explain = arguments.explain or bool(arguments.html) or token is not None or label is not None
    check_together(arguments, explain, "--html")
    if arguments.text_column and not arguments.file:
        raise UserError("--text-column applies to --file: add --file, or omit it")
    wanted = PredictOptions(
        file=arguments.file,
        explain=explain,
        page=arguments.html,
        interactive=arguments.interactive,
        out=arguments.out,
        raw=arguments.raw,
        text_column=arguments.text_column,
        encoding=arguments.encoding,
        calibrate=getattr(arguments, "calibrate", False),
        minimum=getattr(arguments, "min_probability", None),
        label=label,
        token=token,
    )
    run = named_run(arguments.run, (program.task.name,))
    return predict(run, arguments.text, Request.read(arguments), wanted)
