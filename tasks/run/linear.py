"""Fit a linear model of n-grams alone (`--encoder ngrams`): a run like any other, without a framework."""

from __future__ import annotations

import argparse
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from core.data.ngrams.fit import Fitted
from core.data.ngrams.strongest import by_class, write_strongest
from core.engine.processes import SINGLE_PROCESS
from core.engine.reference import ReferenceEngine
from core.errors import UserError
from core.models.heads.scores import Evaluation
from core.spec.experiment import Experiment, replace
from core.strings import shorten
from core.train.metrics import evaluate
from core.train.record import Run, create_run
from core.train.results import summarize_run
from core.train.run_folder import RunFolder
from core.train.run_lock import held
from core.train.setup import Inputs, Setup, prepare_start
from tasks.cli.assignments import assigned
from tasks.cli.commands import run_command
from tasks.cli.console import DataProgress, console, fact
from tasks.cli.options import DECODER, OPTIONS
from tasks.cli.paths import new_name, quoted
from tasks.cli.terminal import OUTPUT, literal, silent
from tasks.run.baseline import fit_baseline
from tasks.run.calibration import with_calibration
from tasks.run.evaluators import NUMPY
from tasks.run.ngram_solver import chosen_solver
from tasks.run.present import presenter
from tasks.run.present.baselines import baseline_lines
from tasks.run.summary import WIDTH, describe
from tasks.run.task import Task
from tasks.run.train import Output, TrainOptions

WITH_MEANING = ("--encoder", "--ngrams", "--ngram-orders", "--ngram-characters", "--tokenizer", "--seed")
"""Flags of model, text and training that a linear model has a use for; all of data apply."""
FIELDS = ("model.ngrams", "model.encoder.kind", "text.", "data.", "data", "training.seed", "task", "recipe")
"""Beginnings of the fields that `--set` may change."""
SHOWN = 12
"""Number of n-grams of each class to print."""
MOST_CLASSES = 6
"""Number of classes whose n-grams are printed."""
NGRAM = 30
"""Maximum characters of an n-gram to print."""
STRONGEST = "ngrams.csv"


def check_options(arguments: argparse.Namespace) -> None:
    """Raise UserError for options that a linear model of n-grams has no use for."""
    for flag in ("--backend", "--device", "--impl"):
        value = getattr(arguments, flag[2:])
        if value not in (None, "auto", "cpu", NUMPY):
            raise UserError(f"{flag} {value}: a linear model of n-grams needs no framework or GPU: omit it")
    for name in ("tensorboard", "visualdl"):
        if getattr(arguments, name):
            raise UserError(f"--{name}: a linear model of n-grams is fitted in one go, without curves: omit it")
    options = [option for part in ("model", DECODER, "text", "training") for option in OPTIONS[part]]
    given = [option.flag for option in options if getattr(arguments, option.dest, None) is not None]
    useless = [flag for flag in given if flag not in WITH_MEANING]
    useless += [f"--set {field}" for field in assigned(arguments.set) if not field.startswith(FIELDS)]
    if useless:
        raise UserError(f"{', '.join(useless)}: without effect on a linear model of n-grams: omit, or use a network")


def without_network(experiment: Experiment) -> Experiment:
    """Return the spec without word vectors of a recipe, which nothing would read."""
    return replace(experiment, {"model.embedding.vectors": None, "model.embedding.static_copy": False, "words": None})


def start(task: Task, experiment: Experiment, options: TrainOptions) -> int:
    """Fit the model of a new run, evaluate it, and write all files of a run. Return the exit code.

    With `options.baseline` the result has the share of the most frequent class.
    """
    cache = options.cache
    path = Path(options.out) if options.out else new_name(Path("runs"), f"{experiment.task}-ngrams")
    RunFolder.check_free(path)
    started = time.perf_counter()
    solver = chosen_solver()
    with DataProgress() as progress:
        inputs = Inputs(cache, progress=progress, solver=solver.solve)
        setup = solver.recorded(prepare_start(without_network(experiment), path, SINGLE_PROCESS, inputs))
    assert setup.ngrams is not None, "the spec has n-grams"
    executor = {
        "backend": NUMPY,
        "device": "cpu",
        "implementation": ReferenceEngine.implementation,
        "versions": {NUMPY: np.__version__},
    }
    run = create_run(path, setup, executor, SINGLE_PROCESS)
    with held(path):
        with silent(OUTPUT) if options.output is Output.NONE else nullcontext():
            describe(run)
        dev = _evaluated(run, "dev")
        with nullcontext() if options.alone else silent(OUTPUT):
            fitted = _keep(run, setup, dev, time.perf_counter() - started)
        found = _evaluated(run, "test")
        result = with_calibration(run, summarize_run(run, found), dev, found)
        if options.baseline and (simple := fit_baseline(run, found)) is not None:
            result["baseline"] = simple
        write_strongest(run.folder.path / STRONGEST, fitted.model, run.execution["classes"])
        with nullcontext() if options.alone else silent(OUTPUT):
            example = presenter(experiment).save(run, found, cache)
            run.folder.write_result(result)
            _report(task, run, result, fitted, example)
    return 0


def _keep(run: Run, setup: Setup, dev: Evaluation, seconds: float) -> Fitted:
    """Write the checkpoints and the line of the metrics. Return the fitted model."""
    state, folder, spec = run.state, run.folder, run.experiment.model.ngrams
    assert setup.ngrams is not None and spec is not None
    state.step, state.finished = spec.passes, True
    state.tokens, state.seconds = spec.passes * int(fitted_tokens(setup)), seconds
    state.take(dev)
    folder.append_metrics([_line(dev, state.step)])
    folder.write_best({}, state.step)
    folder.write_last({}, {}, state)
    console.print(f"dev loss {dev.loss:.4f}  dev accuracy [bold]{dev.accuracy:.4f}[/]")
    return setup.ngrams


def _evaluated(run: Run, split: str) -> Evaluation:
    """Evaluate on a split, with progress."""
    model = run.experiment.model
    with DataProgress() as progress:
        return evaluate(
            ReferenceEngine(model, {}),
            model.head,
            run.data.split(split),
            lambda *done: progress(f"evaluating on {split}", *done),
        )


def fitted_tokens(setup: Setup) -> int:
    """Return the number of tokens of the whole training texts, which every pass of the solver reads."""
    return setup.data.whole("train").texts.offsets[-1] if setup.data.whole is not None else 0


def _line(dev: Evaluation, step: int) -> dict:
    """Return the line of `metrics.jsonl` with the figures on dev."""
    return {"split": "dev", "step": step, "epoch": float(step), "loss": dev.loss, "accuracy": dev.accuracy}


def _report(task: Task, run: Run, result: dict, fitted: Fitted, example: str) -> None:
    folder = run.folder.path
    console.print()
    console.print(presenter(run.experiment).headline(result))
    for line in baseline_lines(result, run.experiment):
        console.print(literal(line))
    console.print(f"read and fitted in {result['training']['seconds']:.0f} s, without a framework")
    strongest = by_class(fitted.model, run.execution["classes"], SHOWN)
    for name, found in list(strongest.items())[:MOST_CLASSES]:
        console.print(literal(f"{shorten(name, NGRAM)}: {', '.join(shorten(own.ngram, NGRAM) for own in found)}"))
    fact("n-grams", str(folder / STRONGEST), WIDTH)
    for name, picture in presenter(run.experiment).PICTURES.items():
        if (folder / picture).is_file():
            fact(name, str(folder / picture), WIDTH)
    text = f'"{task.example}"' if task.example else quoted(example or "a text")
    fact("next", f"{run_command(task.program, 'predict')} {quoted(folder)} {text}", WIDTH, command=True)
