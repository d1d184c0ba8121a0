"""Sentiment of movie reviews: train, predict, evaluate.

python -m tasks.imdb --backend paddle
python -m tasks.imdb --backend both
python -m tasks.imdb predict runs/imdb-paddle-... "A wonderful film."
python -m tasks.imdb evaluate runs/imdb-paddle-... --backend torch
"""

from __future__ import annotations

import argparse
import sys

import backends
from core.errors import UserError
from core.spec import read_experiment
from tasks import both
from tasks.console import Parser, run_program
from tasks.options import add_options, apply_options, given
from tasks.prediction import EVALUATORS, NUMPY, Wanted, evaluate_run, predict
from tasks.recipes import RECIPES, recipe
from tasks.training import Task, absolute_source, cache_folder, check_task, resume, start

TASK = Task(program="tasks.imdb", classes=("negative", "positive"))
PROGRAM = f"python -m {TASK.program}"


def main(argv: list[str]) -> int:
    command, rest = (argv[0], argv[1:]) if argv and not argv[0].startswith("-") else ("train", argv)
    if command not in COMMANDS:
        raise UserError(f"unknown command {command!r}: choose one of {', '.join(COMMANDS)} (see: {PROGRAM} --help)")
    return COMMANDS[command](rest)


def train_command(argv: list[str]) -> int:
    parser = Parser(
        prog=PROGRAM,
        description="Train a recurrent classifier of movie reviews, test it, and keep everything in a run folder.",
        epilog="Other commands: predict RUN TEXT, evaluate RUN; each has a --help. Defaults stand in brackets.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=110),
    )
    names = ", ".join(backends.NAMES)
    text = f"framework that trains: {names}, or {both.BOTH}, and a report compares them [the first that is installed]"
    parser.add_argument("--backend", metavar="B", help=text)
    parser.add_argument("--device", metavar="D", help="auto, cpu or gpu; auto takes a usable GPU [auto]")
    _impl_option(parser)
    parser.add_argument("--recipe", metavar="R", help=f"set of numbers to start from: {', '.join(RECIPES)} [default]")
    parser.add_argument("--config", metavar="FILE", help="start from this spec, as in a run's experiment.json")
    parser.add_argument("--out", metavar="DIR", help="run folder to make [runs/imdb-BACKEND-DATE-TIME]")
    parser.add_argument("--resume", metavar="RUN", help="go on with a stopped run, also with another --backend")
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard's event files into the run")
    _cache_option(parser)
    add_options(parser)
    arguments = parser.parse_args(argv)
    cache = cache_folder(arguments.cache_dir)
    device = _device(arguments.device)
    if arguments.resume:
        _refuse_with_resume(arguments)
        if both.is_both(arguments.resume):
            chosen = (arguments.backend, arguments.device, arguments.impl)
            return both.resume(TASK, arguments.resume, *chosen, cache, arguments.tensorboard)
        if arguments.backend == both.BOTH:
            raise UserError(f"{arguments.resume}: a run in one framework alone: leave out --backend {both.BOTH}")
        chosen = (arguments.backend, device, arguments.impl)
        return resume(TASK, arguments.resume, *chosen, cache, arguments.tensorboard)
    if arguments.config and arguments.recipe:
        raise UserError("--config and --recipe both say where to start from: give one")
    base = read_experiment(arguments.config) if arguments.config else recipe(arguments.recipe or "default")
    experiment = absolute_source(apply_options(base, arguments))
    check_task(TASK, experiment, arguments.config or "--set task")
    if arguments.backend == both.BOTH:
        return both.start(TASK, experiment, device, arguments.impl, arguments.out, cache, arguments.tensorboard)
    backend = arguments.backend or backends.first_installed()
    return start(TASK, experiment, backend, device, arguments.impl, arguments.out, cache, arguments.tensorboard)


def predict_command(argv: list[str]) -> int:
    parser = Parser(
        prog=f"{PROGRAM} predict",
        description="Print label, probability and text, separated by tabs, for each text.",
        epilog="Without TEXT or --file, lines are read from standard input; blank lines are passed over.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("text", metavar="TEXT", nargs="*", help="a review, in quotes")
    parser.add_argument("--file", metavar="FILE", help="a UTF-8 text file with a review per line")
    parser.add_argument("--explain", action="store_true", help="show which words moved the answer, and how far")
    parser.add_argument("--html", metavar="FILE", help="write the explanations as a page too")
    parser.add_argument("--interactive", action="store_true", help="answer one text after another as they are typed")
    _backend_option(parser, f"what computes: {', '.join(EVALUATORS)} [{NUMPY}: no framework to wait for]")
    # Texts may stand behind options too, which plain argparse would not take.
    arguments = parser.parse_intermixed_args(argv)
    if arguments.file and arguments.text:
        raise UserError("TEXT and --file both give texts: use one")
    if arguments.interactive and (arguments.file or arguments.text or arguments.html):
        raise UserError("--interactive reads texts as they are typed: leave out TEXT, --file and --html")
    device, backend = _device(arguments.device), arguments.backend or NUMPY
    wanted = Wanted(arguments.explain or bool(arguments.html), arguments.html, arguments.interactive)
    return predict(arguments.run, arguments.text, arguments.file, backend, device, arguments.impl, wanted)


def evaluate_command(argv: list[str]) -> int:
    parser = Parser(
        prog=f"{PROGRAM} evaluate",
        description="Measure a run's best epoch again, in any framework, and compare with the predictions it wrote.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("--split", metavar="S", default="test", help="test, dev or train [test]")
    parser.add_argument("--data", metavar="PATH", help="where the run's data are now, if they were moved")
    _backend_option(parser, f"what computes: {', '.join(EVALUATORS)} [the run's own]")
    _cache_option(parser)
    arguments = parser.parse_args(argv)
    if arguments.split not in ("test", "dev", "train"):
        raise UserError(f"--split {arguments.split}: choose one of test, dev, train")
    device = _device(arguments.device)
    cache = cache_folder(arguments.cache_dir)
    return evaluate_run(
        arguments.run, arguments.backend, device, arguments.impl, arguments.data, arguments.split, cache
    )


COMMANDS = {"train": train_command, "predict": predict_command, "evaluate": evaluate_command}


def _backend_option(parser: Parser, text: str) -> None:
    parser.add_argument("--backend", metavar="B", help=text)
    parser.add_argument("--device", metavar="D", help="auto, cpu or gpu [auto]")
    _impl_option(parser)


def _impl_option(parser: Parser) -> None:
    text = f"recurrent layers: auto, {', '.join(backends.IMPLEMENTATIONS)}; auto takes fast, ours for the CPU [auto]"
    parser.add_argument("--impl", metavar="I", default="auto", help=text)


def _cache_option(parser: Parser) -> None:
    parser.add_argument("--cache-dir", metavar="DIR", help="for downloads and tokenised reviews [~/.cache/seqtwin]")


def _device(value: str | None) -> str:
    if value not in (None, "auto", "cpu", "gpu"):
        raise UserError(f"--device {value}: choose one of auto, cpu, gpu")
    return value or "auto"


def _refuse_with_resume(arguments: argparse.Namespace) -> None:
    fixed = [flag for flag in ("--recipe", "--config", "--out") if getattr(arguments, flag[2:]) is not None]
    fixed += given(arguments)
    if fixed:
        raise UserError(f"--resume takes everything from the run: leave out {', '.join(fixed)}")


if __name__ == "__main__":
    sys.exit(run_program(main, sys.argv[1:]))
