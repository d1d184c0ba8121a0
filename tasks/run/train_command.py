"""Train a model of a text task, or resume a run: the arguments, and what they start."""

from __future__ import annotations

import argparse

from core.errors import UserError
from core.spec.experiment import read_experiment
from tasks.cli.console import Parser, fact
from tasks.cli.devices import DEVICE_HELP
from tasks.cli.paths import cache_folder
from tasks.cli.streams import keep_working
from tasks.run.command_options import cache_option, impl_option
from tasks.run.latest import named_run
from tasks.run.program import NO_BASELINE, Program
from tasks.run.task import CROSS_VALIDATE
from tasks.run.worker import Request


def train_command(program: Program, argv: list[str]) -> int:
    """Train or resume with these arguments. Return the exit code."""
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
    impl_option(parser)
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
    cache_option(parser)
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


def _refuse_with_resume(program: Program, arguments: argparse.Namespace) -> None:
    from tasks.cli.options import given

    fixed = [flag for flag in ("--recipe", "--config", "--out") if getattr(arguments, flag[2:]) is not None]
    fixed += [name for name in program.own_arguments if getattr(arguments, _dest(name)) is not None] + given(arguments)
    if fixed:
        raise UserError(f"--resume takes these settings from the run: omit {', '.join(fixed)}")


def _dest(name: str) -> str:
    return name.removeprefix("--").replace("-", "_").lower()
