"""Run a text task: `train` (the default), `predict` and `evaluate`, shared by all text tasks."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field

from backends import implementations
from core.errors import UserError, forget_notes
from core.files import user_path
from core.spec.experiment import Experiment, read_experiment
from tasks.cli.commands import program_command, run_command
from tasks.cli.console import Parser, fact
from tasks.cli.devices import DEVICE_HELP
from tasks.cli.paths import cache_folder
from tasks.cli.streams import keep_working
from tasks.run.evaluators import EVALUATORS, FAST, NUMPY
from tasks.run.latest import named_run
from tasks.run.predict import predict
from tasks.run.predict_options import PredictOptions, check_together
from tasks.run.task import CROSS_VALIDATE, Task
from tasks.run.worker import Request

COMMANDS = ("train", "predict", "evaluate")
NO_BASELINE = "--no-baseline"
"""Omits the simple models beside a classifier of texts."""


def _no_arguments(parser: Parser) -> None:
    pass


def _unchanged(experiment: Experiment, arguments: argparse.Namespace) -> Experiment:
    return experiment


def refuse_table(experiment: Experiment, arguments: argparse.Namespace) -> Experiment:
    """Return the experiment. Raises UserError for a table as its data, with the command that trains on it."""
    from core.data.sources.table import is_table

    source = arguments.data
    if source is not None and (path := user_path(source)).is_file() and is_table(path):
        command = f"{program_command('tasks.classify')} {shlex.quote(source)}"
        raise UserError(f"--data {source}: a table; this program reads reviews only: train on it with: {command}")
    return experiment


@dataclass(frozen=True)
class Program:
    """Describe one task's program."""

    task: Task
    description: str
    data_help: str
    """Help text of `--data`."""
    usage: str = ""
    """Names of its positional arguments."""
    without: tuple[str, ...] = ()
    """Options that it does not offer."""
    add_arguments: Callable[[Parser], None] = _no_arguments
    """Adds the task's own training arguments."""
    own_arguments: tuple[str, ...] = ()
    """Names of those arguments; `--resume` excludes them, since it takes the data from the run."""
    predicts: str = "Classify texts: print label, probability and text, tab-separated, for each."
    """What `predict` does, in its help."""
    writes: str = (
        "A text without tokens has an empty label. --out writes a CSV with the columns of a table (else row and text),"
        " the predicted label and the probability of each class."
    )
    """What `predict` prints and writes, in its help."""
    tags: bool = False
    """True if it predicts a tag per token: `predict` can then explain a token."""
    several_labels: bool = False
    """True if its texts may have several labels: `predict` can then explain a label."""
    complete: Callable[[Experiment, argparse.Namespace], Experiment] = field(default=_unchanged)
    """Sets those arguments in the experiment, and infers settings from the data."""

    preset: Callable[[argparse.Namespace], str] | None = None
    """Returns the recipe if none is given; None for the first one of the task."""
    usual: str = "that of the task"
    """The recipe if none is given, in the help, for a program with a `preset`."""
    splits: tuple[str, ...] = ("test", "dev", "train")
    """Splits that `evaluate` knows."""
    predict: Callable[[str, list[str]], int] | None = None
    """Runs `predict`, with the name of the program and its arguments; None for a classifier."""

    @property
    def name(self) -> str:
        """Return the command that starts it."""
        return program_command(self.task.program)


def run(program: Program, argv: list[str]) -> int:
    """Run a command. Return the exit code."""
    forget_notes()
    command, rest = (argv[0], argv[1:]) if argv and argv[0] in COMMANDS else ("train", argv)
    if command == "train" and rest and not rest[0].startswith("-") and not program.usage:
        raise UserError(f"unknown command {rest[0]!r}: choose one of {', '.join(COMMANDS)} (see {program.name} --help)")
    if command == "predict" and program.predict is not None:
        return program.predict(program.name, rest)
    return {"train": _train, "predict": _predict, "evaluate": _evaluate}[command](program, rest)


def _train(program: Program, argv: list[str]) -> int:
    arguments = train_parser(program).parse_args(argv)
    keep_working()
    return train_with(program, arguments)


def train_parser(program: Program) -> Parser:
    """Return the parser of the arguments that `train_with` reads."""
    # Imported here, so that a prediction starts without them.
    from tasks.cli.options import add_options
    from tasks.cli.recipes import TASK_RECIPES, recipe
    from tasks.run import both_frameworks, cross_validation

    task = program.task
    recipes = TASK_RECIPES[task.name]
    first = next(iter(recipes))
    shown = first if program.preset is None else program.usual
    parser = Parser(
        prog=program.name,
        several=True,
        description=program.description,
        epilog="Other commands: predict RUN TEXT, evaluate RUN (each has --help). Defaults are in [brackets].",
    )
    program.add_arguments(parser)
    parser.add_argument("--backend", metavar="B", help=both_frameworks.BACKEND_HELP)
    parser.add_argument("--device", metavar="D", help=DEVICE_HELP)
    _impl_option(parser)
    parser.add_argument("--recipe", metavar="R", help=f"hyperparameter preset: {', '.join(recipes)} [{shown}]")
    parser.add_argument("--config", metavar="FILE", help="spec file, e.g. a run's experiment.json")
    parser.add_argument("--out", metavar="DIR", help=f"run folder to create [runs/{task.name}-BACKEND-DATE-TIME]")
    parser.add_argument("--resume", metavar="RUN", help="resume a stopped run, with any --backend")
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard event files to the run")
    parser.add_argument("--visualdl", action="store_true", help="write VisualDL log files to the run")
    if NO_BASELINE not in program.without:
        parser.add_argument(NO_BASELINE, action="store_true", help="do not fit the linear n-gram baseline")
    if CROSS_VALIDATE not in program.without:
        cross_validation.add_option(parser)
    _cache_option(parser)
    bases = {name: recipe(name, task.name) for name in recipes}
    add_options(parser, bases, program.without, {"--data": program.data_help})
    return parser


def train_with(program: Program, arguments: argparse.Namespace) -> int:
    """Start the run, or resume the one, that the arguments of `train_parser` describe. Return the exit code."""
    # Imported here, so that a prediction starts without them.
    from core.engine.memory import check_memory, host_limit
    from core.train.prepare_data import absolute_source
    from tasks.cli.options import apply_options
    from tasks.cli.recipes import TASK_RECIPES, recipe
    from tasks.cli.start_options import settings, start_of, with_settings_of_start
    from tasks.run import both_frameworks, cross_validation, linear
    from tasks.run.inferred import infer_ngrams
    from tasks.run.train import LOGS, TrainOptions, check_task, resume, start

    task = program.task
    first = next(iter(TASK_RECIPES[task.name]))
    cache = cache_folder(arguments.cache_dir)
    baseline = not getattr(arguments, _dest(NO_BASELINE), False)
    logs = tuple(name for name in LOGS if getattr(arguments, name))
    options = TrainOptions(Request.read(arguments), cache, arguments.out, logs, baseline)
    if arguments.resume:
        arguments.resume = named_run(arguments.resume, (task.name,), finished=False)
        _refuse_with_resume(program, arguments)
        folds = getattr(arguments, _dest(CROSS_VALIDATE), None)
        if cross_validation.is_cross_validation(arguments.resume):
            return cross_validation.proceed(task, arguments.resume, folds, options)
        if folds is not None:
            raise UserError(f"{arguments.resume}: no cross-validation, got {CROSS_VALIDATE} {folds}: omit it")
        if both_frameworks.is_both(arguments.resume):
            return both_frameworks.resume(task, arguments.resume, options)
        if arguments.backend == both_frameworks.BOTH:
            raise UserError(
                f"{arguments.resume}: run of a single backend, got --backend {both_frameworks.BOTH}: omit it"
            )
        return resume(task, arguments.resume, options)
    if arguments.config and arguments.recipe:
        raise UserError("--config and --recipe exclude each other: give one")
    preset = first if program.preset is None else program.preset(arguments)
    base = read_experiment(arguments.config) if arguments.config else recipe(arguments.recipe or preset, task.name)
    if not arguments.config and (other := start_of(arguments)) is not None:
        base = with_settings_of_start(base, arguments)
        fact("inferred", settings(base, other))
    check_task(task, base, arguments.config or "--recipe")
    experiment = cross_validation.with_folds(apply_options(base, arguments), arguments)
    if experiment.model.is_linear:
        linear.check_options(arguments)
    experiment = absolute_source(program.complete(experiment, arguments))
    if not arguments.config:
        experiment = infer_ngrams(experiment, arguments)
    check_task(task, experiment, "--set task")
    if not experiment.model.is_linear:
        check_memory(experiment, host_limit())
    if getattr(arguments, _dest(CROSS_VALIDATE), None) is not None:
        return cross_validation.begin(task, experiment, options)
    if experiment.model.is_linear:
        return linear.start(task, experiment, options)
    if arguments.backend == both_frameworks.BOTH:
        return both_frameworks.start(task, experiment, options)
    return start(task, experiment, options)


def _predict(program: Program, argv: list[str]) -> int:
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
    _backend_option(parser, f"backend: {', '.join(EVALUATORS)} [{FAST}, or {NUMPY}]")
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


def _evaluate(program: Program, argv: list[str]) -> int:
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
    _backend_option(parser, f"backend: {', '.join(EVALUATORS)} [{FAST}, or the run's]")
    _cache_option(parser)
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


def _backend_option(parser: Parser, text: str) -> None:
    parser.add_argument("--backend", metavar="B", help=text)
    parser.add_argument("--device", metavar="D", help=DEVICE_HELP)
    _impl_option(parser)


def _impl_option(parser: Parser) -> None:
    known = ", ".join(implementations.IMPLEMENTATIONS)
    text = f"implementation: auto, {known} [auto: fastest available]"
    parser.add_argument("--impl", metavar="I", default="auto", help=text)


def _cache_option(parser: Parser) -> None:
    parser.add_argument("--cache-dir", metavar="DIR", help="cache of downloads and tokenized texts [~/.cache/seqtwin]")


def _refuse_with_resume(program: Program, arguments: argparse.Namespace) -> None:
    from tasks.cli.options import given

    fixed = [flag for flag in ("--recipe", "--config", "--out") if getattr(arguments, flag[2:]) is not None]
    fixed += [name for name in program.own_arguments if getattr(arguments, _dest(name)) is not None] + given(arguments)
    if fixed:
        raise UserError(f"--resume takes these settings from the run: omit {', '.join(fixed)}")


def _dest(name: str) -> str:
    return name.removeprefix("--").replace("-", "_").lower()
