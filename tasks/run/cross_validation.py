"""Cross-validate a classifier of texts: train and test it once for each fold of the data (`--cross-validate K`).

The folder holds the plan, a run folder per fold, and what all folds give together:

    runs/classify-cross-validation-DATE-TIME/plan.json, fold-1/, ..., results.json, predictions.csv, labels.csv
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path

from backends import launchers
from core.checked_json import read_checked_json, write_checked_json
from core.data.multilabel import has_label_sets
from core.errors import UserError
from core.spec.data import Folds
from core.spec.experiment import FORMAT_VERSION, Experiment, parse_experiment, replace
from core.train.prepare_data import read_data
from core.train.run_folder import CHECKED_SINCE, PLAN, RECORD, RunFolder
from core.train.run_lock import LOCK, held
from tasks.cli.commands import run_command
from tasks.cli.console import INTERRUPTED, DataProgress, Parser, console
from tasks.cli.framework import load_backend
from tasks.cli.paths import new_name, quoted
from tasks.cli.terminal import literal
from tasks.run import linear
from tasks.run.both_frameworks import BOTH
from tasks.run.cross_validation_results import RESULTS, fold_line, write_results
from tasks.run.evaluators import NUMPY
from tasks.run.task import CROSS_VALIDATE, Task
from tasks.run.train import Output, TrainOptions, check_task, resume, start
from tasks.run.worker import Request

KIND = "cross-validation"
"""Kind of the plan."""
RESULT = "result.json"


@dataclass(frozen=True)
class Plan:
    """The folds of a cross-validation in `folder`, and what computes them."""

    folder: Path
    experiment: Experiment
    """The spec of fold 1; the others differ in `data.fold`."""
    request: Request
    baseline: bool

    @property
    def folds(self) -> int:
        assert isinstance(self.experiment.data, Folds) and self.experiment.data.folds is not None
        return self.experiment.data.folds

    def path(self, fold: int) -> Path:
        """Return the run folder of a fold, counted from 1."""
        return self.folder / f"fold-{fold}"

    def spec(self, fold: int) -> Experiment:
        return replace(self.experiment, {"data.fold": fold})

    @property
    def paths(self) -> list[Path]:
        return [self.path(fold) for fold in range(1, self.folds + 1)]

    def write(self) -> None:
        tree = {
            "format": FORMAT_VERSION,
            "kind": KIND,
            "experiment": self.experiment.model_dump(mode="json"),
            "folds": self.folds,
            "backend": self.request.backend,
            "device": self.request.device,
            "implementation": self.request.implementation,
            "baseline": self.baseline,
        }
        write_checked_json(self.folder / PLAN, tree)

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read the plan in a folder. Raises UserError if it is missing or damaged."""
        where = RunFolder.open(path).file(PLAN)
        tree = read_checked_json(where, CHECKED_SINCE)
        experiment = parse_experiment(tree.get("experiment"), str(where))
        how = [tree.get(name) for name in ("backend", "device", "implementation")]
        folds = getattr(experiment.data, "folds", None)
        strings = all(isinstance(own, str) for own in how)
        if folds is None or folds != tree.get("folds") or not strings or not isinstance(tree.get("baseline"), bool):
            raise UserError(f"{where}: not a plan of a cross-validation, the file is damaged: restore it")
        return cls(path, experiment, Request(*map(str, how)), tree["baseline"])


def add_option(parser: Parser) -> None:
    parser.add_argument(CROSS_VALIDATE, metavar="K", type=int, help="train and test K folds; predictions for all texts")


def with_folds(experiment: Experiment, arguments: argparse.Namespace) -> Experiment:
    """Return the spec with the folds of `--cross-validate`, if it is given.

    Raises UserError for a number below 2, and for options that it excludes.
    """
    folds = getattr(arguments, "cross_validate", None)
    if folds is None:
        return experiment
    if folds < 2:
        raise UserError(f"{CROSS_VALIDATE} {folds}: give at least 2 folds, such as 5")
    if arguments.backend == BOTH:
        raise UserError(f"{CROSS_VALIDATE} {folds}: not with --backend {BOTH}: give one backend")
    given = {"--test": "test", "--test-share": "test_share", "--train-limit": "train_limit"}
    excluded = [flag for flag, name in given.items() if getattr(arguments, name, None) is not None]
    if excluded:
        raise UserError(f"{CROSS_VALIDATE} {folds}: every text is in one test split: omit {', '.join(excluded)}")
    return replace(experiment, {"data.folds": folds, "data.fold": 1}, f"{CROSS_VALIDATE} {folds}")


def is_cross_validation(run: str) -> bool:
    """Return whether `start` created a folder."""
    path = Path(run) / PLAN
    return path.is_file() and read_checked_json(path, CHECKED_SINCE).get("kind") == KIND


def begin(task: Task, experiment: Experiment, options: TrainOptions) -> int:
    """Train and test every fold of a new cross-validation. Return the exit code."""
    launchers.require_single_process(CROSS_VALIDATE)
    if has_label_sets(experiment.data):
        raise UserError(f"{CROSS_VALIDATE}: not for texts with several labels: omit it")
    name = NUMPY if experiment.model.is_linear else options.request.backend_name
    if not experiment.model.is_linear:
        load_backend(name)  # raises with the reason, before anything is written
    request = changed(options.request, backend=name)
    path = Path(options.out) if options.out else new_name(Path("runs"), f"{task.name}-{KIND}")
    made = [own for own in (path, *path.parents) if not own.exists()]
    RunFolder.check_free(path)
    with DataProgress() as progress:
        read_data(experiment, options.cache, progress=progress)  # rejects data before anything is written
    RunFolder.create(path)
    plan = Plan(path, experiment, request, options.baseline)
    try:
        with held(path):
            plan.write()
            return _run(task, plan, options)
    except UserError:
        if not plan.path(1).exists():
            _remove(path, made)  # settings were rejected before any training
        raise


def proceed(task: Task, run: str, folds: int | None, options: TrainOptions) -> int:
    """Resume a cross-validation: finished folds are kept. Return the exit code."""
    plan = Plan.read(Path(run))
    check_task(task, plan.experiment, run)
    if folds not in (None, plan.folds):
        raise UserError(f"{run}: cross-validation of {plan.folds} folds, got {CROSS_VALIDATE} {folds}: omit it")
    if options.request.backend == BOTH:
        raise UserError(f"{run}: cross-validation with one backend, got --backend {BOTH}: omit it")
    if (plan.folder / RESULTS).exists():
        raise UserError(f"{run}: all folds are finished; see {plan.folder / RESULTS}")
    own, given = plan.request, options.request
    device = own.device if given.device == "auto" else given.device
    implementation = own.implementation if given.implementation == "auto" else given.implementation
    plan = changed(plan, request=Request(given.backend or own.backend, device, implementation))
    with held(plan.folder):
        return _run(task, plan, options)


def _run(task: Task, plan: Plan, options: TrainOptions) -> int:
    """Train the folds that are not finished, then write the results of all. Return the exit code."""
    described = False
    for fold, path in enumerate(plan.paths, start=1):
        if not (path / RESULT).is_file():
            console.print(f"\n[bold]fold {fold} of {plan.folds}[/]")
            output = Output.NONE if described else Output.DESCRIPTION
            code = _train(task, plan, fold, changed(options, baseline=plan.baseline, output=output))
            described = True
            if code:
                console.print("stopped, all folds are kept. Resume with:")
                console.print(literal(f"  {run_command(task.program, 'resume')} {quoted(plan.folder)}"))
                return INTERRUPTED if code == INTERRUPTED else code
        console.print(literal(fold_line(path, fold, plan.folds)))
    write_results(plan.paths, plan.experiment, plan.folder, options.cache)
    return 0


def _train(task: Task, plan: Plan, fold: int, options: TrainOptions) -> int:
    """Train or resume a fold. Return the exit code."""
    path = plan.path(fold)
    options = changed(options, request=plan.request, out=str(path))
    linear_model = plan.experiment.model.is_linear
    if path.is_dir() and (linear_model or RunFolder(path).is_empty):
        shutil.rmtree(path)  # unfinished, without a checkpoint
    if linear_model:
        return linear.start(task, plan.spec(fold), options)
    if (path / RECORD).is_file():
        return resume(task, str(path), options)
    return start(task, plan.spec(fold), options)


def _remove(path: Path, made: list[Path]) -> None:
    """Remove the plan, and the folders in `made` that are empty then."""
    for name in (PLAN, LOCK):
        (path / name).unlink(missing_ok=True)
    for own in made:
        if own.is_dir() and not any(own.iterdir()):
            own.rmdir()
