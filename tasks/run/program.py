"""The program of a task on texts: `train` (the default), `predict` and `evaluate`, the same for all of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field

import backends
from backends import implementations
from core.engine import devices
from core.errors import UserError
from core.spec.experiment import Experiment, read_experiment
from core.train.setup import absolute_source
from tasks.cli.console import Parser
from tasks.cli.options import DEVICE_HELP, add_options, apply_options, given
from tasks.cli.paths import cache_folder
from tasks.cli.recipes import OF_TASK, recipe
from tasks.run import both_frameworks
from tasks.run.evaluate import evaluate_run
from tasks.run.evaluators import EVALUATORS, NUMPY
from tasks.run.predict import Wanted, predict
from tasks.run.train import Task, check_task, resume, start

COMMANDS = ("train", "predict", "evaluate")


def _nothing(parser: Parser) -> None:
    pass


def _as_it_is(experiment: Experiment, arguments: argparse.Namespace) -> Experiment:
    return experiment


@dataclass(frozen=True)
class Program:
    """What is particular to one task's program."""

    task: Task
    description: str
    data_help: str
    """Of `--data`."""
    usage: str = ""
    """Positional arguments, as its help has them."""
    without: tuple[str, ...] = ()
    """Options that it does not offer."""
    add_arguments: Callable[[Parser], None] = _nothing
    """Its own arguments, for training."""
    own: tuple[str, ...] = ()
    """Their names; they are about the data, which a resume has."""
    settle: Callable[[Experiment, argparse.Namespace], Experiment] = field(default=_as_it_is)
    """The experiment with those set, and with what the data alone can tell."""

    @property
    def name(self) -> str:
        """As it is called."""
        return f"python -m {self.task.program}"


def run(program: Program, argv: list[str]) -> int:
    """Run a command. Returns the exit code."""
    command, rest = (argv[0], argv[1:]) if argv and argv[0] in COMMANDS else ("train", argv)
    if command == "train" and rest and not rest[0].startswith("-") and not program.usage:
        raise UserError(
            f"unknown command {rest[0]!r}: choose one of {', '.join(COMMANDS)} (see: {program.name} --help)"
        )
    return {"train": _train, "predict": _predict, "evaluate": _evaluate}[command](program, rest)


def _train(program: Program, argv: list[str]) -> int:
    task = program.task
    recipes = OF_TASK[task.name]
    parser = Parser(
        prog=program.name,
        several=True,
        description=program.description,
        epilog="Other commands: predict RUN TEXT, evaluate RUN; each has a --help. Defaults stand in brackets.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=110),
    )
    names = ", ".join(backends.NAMES)
    text = f"framework that trains: {names}, or {both_frameworks.BOTH}, and a report compares them "
    text += "[the first that is installed]"
    program.add_arguments(parser)
    parser.add_argument("--backend", metavar="B", help=text)
    parser.add_argument("--device", metavar="D", help=DEVICE_HELP)
    _impl_option(parser)
    parser.add_argument("--recipe", metavar="R", help=f"set of numbers to start from: {', '.join(recipes)} [default]")
    parser.add_argument("--config", metavar="FILE", help="start from this spec, as in a run's experiment.json")
    parser.add_argument("--out", metavar="DIR", help=f"run folder to make [runs/{task.name}-BACKEND-DATE-TIME]")
    parser.add_argument("--resume", metavar="RUN", help="go on with a stopped run, also with another --backend")
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard's event files into the run")
    _cache_option(parser)
    bases = {name: recipe(name, task.name) for name in recipes}
    add_options(parser, bases, program.without, {"--data": program.data_help})
    arguments = parser.parse_args(argv)
    cache = cache_folder(arguments.cache_dir)
    device = _device(arguments.device)
    if arguments.resume:
        _refuse_with_resume(program, arguments)
        if both_frameworks.is_both(arguments.resume):
            chosen = (arguments.backend, arguments.device, arguments.impl)
            return both_frameworks.resume(task, arguments.resume, *chosen, cache, arguments.tensorboard)
        if arguments.backend == both_frameworks.BOTH:
            raise UserError(
                f"{arguments.resume}: a run in one framework alone: leave out --backend {both_frameworks.BOTH}"
            )
        chosen = (arguments.backend, device, arguments.impl)
        return resume(task, arguments.resume, *chosen, cache, arguments.tensorboard)
    if arguments.config and arguments.recipe:
        raise UserError("--config and --recipe both say where to start from: give one")
    base = read_experiment(arguments.config) if arguments.config else recipe(arguments.recipe or "default", task.name)
    check_task(task, base, arguments.config or "--recipe")
    experiment = absolute_source(program.settle(apply_options(base, arguments), arguments))
    check_task(task, experiment, "--set task")
    if arguments.backend == both_frameworks.BOTH:
        return both_frameworks.start(
            task, experiment, device, arguments.impl, arguments.out, cache, arguments.tensorboard
        )
    backend = arguments.backend or backends.first_installed()
    return start(task, experiment, backend, device, arguments.impl, arguments.out, cache, arguments.tensorboard)


def _predict(program: Program, argv: list[str]) -> int:
    parser = Parser(
        prog=f"{program.name} predict",
        description="Print label, probability and text, separated by tabs, for each text.",
        epilog="Without TEXT or --file, lines are read from standard input; blank lines are passed over. With --out,"
        " a CSV of row, text, answer and the probability of every class is written.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("text", metavar="TEXT", nargs="*", help="a text, in quotes")
    parser.add_argument(
        "--file", metavar="FILE", help="a UTF-8 text file of a text per line; or .csv, .tsv, .jsonl, .gz"
    )
    parser.add_argument("--text-column", metavar="NAME", help="of a .csv, .tsv or .jsonl [the run's own, or text]")
    parser.add_argument("--encoding", metavar="NAME", help="of --file [utf-8]")
    parser.add_argument("--out", metavar="FILE", help="write the answers to this CSV file")
    parser.add_argument("--explain", action="store_true", help="show which words moved the answer, and how far")
    parser.add_argument("--html", metavar="FILE", help="write the explanations as a page too")
    parser.add_argument("--interactive", action="store_true", help="answer one text after another as they are typed")
    _backend_option(parser, f"what computes: {', '.join(EVALUATORS)} [{NUMPY}: no framework to wait for]")
    # Texts may stand behind options too, which plain argparse would not take.
    arguments = parser.parse_intermixed_args(argv)
    explain = arguments.explain or bool(arguments.html)
    if arguments.file and arguments.text:
        raise UserError("TEXT and --file both give texts: use one")
    if arguments.interactive and (arguments.file or arguments.text or arguments.html or arguments.out):
        raise UserError("--interactive reads texts as they are typed: leave out TEXT, --file, --out and --html")
    if arguments.out and explain:
        raise UserError("--out writes answers, and --explain shows why: give one")
    if (arguments.text_column or arguments.encoding) and not arguments.file:
        raise UserError("--text-column and --encoding are about --file, which is not there")
    device, backend = _device(arguments.device), arguments.backend or NUMPY
    wanted = Wanted(
        explain, arguments.html, arguments.interactive, arguments.out, arguments.text_column, arguments.encoding
    )
    return predict(arguments.run, arguments.text, arguments.file, backend, device, arguments.impl, wanted)


def _evaluate(program: Program, argv: list[str]) -> int:
    parser = Parser(
        prog=f"{program.name} evaluate",
        description="Measure a run's best epoch again, in any framework, and compare with the predictions it wrote.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("--split", metavar="S", default="test", help="test, dev or train [test]")
    moved = [flag for flag in ("--data", "--dev", "--test") if flag == "--data" or flag in program.own]
    for flag in moved:
        what = "the run's data are" if flag == "--data" else f"its {flag[2:]} file is"
        parser.add_argument(flag, metavar="PATH", help=f"where {what} now, if moved")
    _backend_option(parser, f"what computes: {', '.join(EVALUATORS)} [the run's own]")
    _cache_option(parser)
    arguments = parser.parse_args(argv)
    if arguments.split not in ("test", "dev", "train"):
        raise UserError(f"--split {arguments.split}: choose one of test, dev, train")
    device = _device(arguments.device)
    cache = cache_folder(arguments.cache_dir)
    fields = {"--data": "data.source", "--dev": "data.dev", "--test": "data.test"}
    places = {fields[flag]: getattr(arguments, flag[2:]) for flag in moved}
    places = {field: path for field, path in places.items() if path is not None}
    return evaluate_run(arguments.run, arguments.backend, device, arguments.impl, places, arguments.split, cache)


def _backend_option(parser: Parser, text: str) -> None:
    parser.add_argument("--backend", metavar="B", help=text)
    parser.add_argument("--device", metavar="D", help=DEVICE_HELP)
    _impl_option(parser)


def _impl_option(parser: Parser) -> None:
    known = ", ".join(implementations.IMPLEMENTATIONS)
    text = (
        f"what computes the encoder: auto, {known}; auto takes fast, ours for the CPU, else the framework's own [auto]"
    )
    parser.add_argument("--impl", metavar="I", default="auto", help=text)


def _cache_option(parser: Parser) -> None:
    parser.add_argument("--cache-dir", metavar="DIR", help="for downloads and tokenised texts [~/.cache/seqtwin]")


def _device(value: str | None) -> str:
    request = value or "auto"
    devices.parse(request)
    return request


def _refuse_with_resume(program: Program, arguments: argparse.Namespace) -> None:
    fixed = [flag for flag in ("--recipe", "--config", "--out") if getattr(arguments, flag[2:]) is not None]
    fixed += [name for name in program.own if getattr(arguments, _dest(name)) is not None] + given(arguments)
    if fixed:
        raise UserError(f"--resume takes everything from the run: leave out {', '.join(fixed)}")


def _dest(name: str) -> str:
    return name.removeprefix("--").replace("-", "_").lower()
