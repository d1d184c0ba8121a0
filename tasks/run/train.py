"""Start, resume and finish a run, the same way for every task."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from backends import launchers
from core.data.unlabeled_texts import check_unlabeled
from core.engine.contract import Engine
from core.engine.processes import ProcessGroup
from core.errors import UserError
from core.models.heads.scores import TextEvaluation
from core.plots.curves import draw_curves
from core.plots.gradients import draw_gradients
from core.spec.experiment import Experiment
from core.train.metrics import evaluate
from core.train.ngrams import NGRAMS
from core.train.record import Run, create_run, reopen_run
from core.train.results import evaluate_best, summarize_run
from core.train.run_folder import RECORD, RunFolder
from core.train.run_lock import held
from core.train.setup import Inputs, StoppedRun, prepare_resume, prepare_start, read_checkpoint
from core.train.steps import total_steps
from core.train.trainer import Session, train
from tasks.cli.commands import program_command, run_command
from tasks.cli.console import INTERRUPTED, DataProgress, TrainingDisplay, console, fact
from tasks.cli.paths import new_name, quoted
from tasks.cli.terminal import OUTPUT, literal, silent
from tasks.run import event_files, visualdl_files
from tasks.run.baseline import fit_baseline
from tasks.run.calibration import with_calibration
from tasks.run.ngram_solver import chosen_solver
from tasks.run.present import presenter
from tasks.run.present.pictures import draw_or_note
from tasks.run.scalar_log import Observers, check_installed
from tasks.run.signals import stop_signals
from tasks.run.summary import GRADIENTS, describe, report
from tasks.run.task import Task
from tasks.run.word_vectors import trained_vectors
from tasks.run.worker import Request, Worker

LOGS = {event_files.PACKAGE: event_files.EventLog, visualdl_files.PACKAGE: visualdl_files.VisualLog}
"""Observers that write log files, by the name of their package and option."""


class Output(Enum):
    """What a run prints: everything, or as one of several runs its description, or nothing but its progress."""

    ALL = "all"
    DESCRIPTION = "description"
    NONE = "none"


@dataclass(frozen=True)
class TrainOptions:
    """Options of training: what computes it, its files, and what it prints."""

    request: Request
    cache: Path
    out: str | None = None
    """Folder of a new run; None for a new name in `runs`."""
    logs: tuple[str, ...] = ()
    """Packages whose log files are written: names of `LOGS`."""
    baseline: bool = True
    """False to compare a classifier of texts with no simple models."""
    output: Output = Output.ALL

    @property
    def alone(self) -> bool:
        """Return whether the run is none of several, which print their results together."""
        return self.output is Output.ALL


def start(task: Task, experiment: Experiment, options: TrainOptions) -> int:
    """Start a new run and train it. Return the exit code."""
    for name in options.logs:
        check_installed(name)
    check_unlabeled(experiment)
    worker = Worker.join(options.request, experiment)
    group, name = worker.executor.group, f"{experiment.task}-{worker.backend.NAME}"
    path = Path(options.out) if options.out else new_name(Path("runs"), name)
    if group.rank == 0:
        RunFolder.check_free(path)
    trained = trained_vectors(worker, experiment, options.cache) if experiment.words else None
    if experiment.words and trained is None:
        return INTERRUPTED
    solver = chosen_solver()
    with DataProgress() as progress:
        setup = prepare_start(experiment, path, group, Inputs(options.cache, trained, progress, solver.solve))
    setup = solver.recorded(setup)
    engine = worker.engine(setup)
    run = create_run(path, setup, worker.record(), group)
    with _held(path, group.rank):
        return _run(task, run, engine, group, options)


def resume(task: Task, path: str, options: TrainOptions) -> int:
    """Resume a stopped run, with its backend or another. Return the exit code."""
    for name in options.logs:
        check_installed(name)
    folder = RunFolder.open(Path(path))
    folder.file(RECORD)
    with _held(folder.path, launchers.rank()):
        stopped = _stopped(task, folder)
        if stopped.experiment.model.is_linear:
            command = f"rm -r {quoted(folder.path)}"
            raise UserError(f"{path}: a linear model of n-grams is not resumed: remove it with {command}, start again")
        worker = Worker.join(options.request.or_backend(stopped.execution["backend"]), stopped.experiment)
        group = worker.executor.group
        needed = stopped.checkpoint is None and stopped.experiment.words is not None
        trained = trained_vectors(worker, stopped.experiment, options.cache) if needed else None
        if needed and trained is None:
            return INTERRUPTED
        solver = chosen_solver()
        with DataProgress() as progress:
            setup = prepare_resume(stopped, group, Inputs(options.cache, trained, progress, solver.solve))
        if stopped.checkpoint is None and not (folder.path / NGRAMS).exists():
            setup = solver.recorded(setup)
        engine = worker.engine(setup)
        run = reopen_run(stopped.folder, setup, worker.record(), group)
        return _run(task, run, engine, group, options)


def _held(path: Path, rank: int) -> AbstractContextManager[None]:
    """Lock a run folder, in the process that writes to it."""
    return held(path) if rank == 0 else nullcontext()


def check_task(task: Task, experiment: Experiment, where: str) -> None:
    """Raise UserError for the spec of another task, whose data and classes differ."""
    if experiment.task != task.name:
        other = experiment.task
        raise UserError(f"{where}: spec of task {other}, expected {task.name}: use {program_command(f'tasks.{other}')}")


def _stopped(task: Task, folder: RunFolder) -> StoppedRun:
    """Read a stopped run. Raises UserError if it is of another task, damaged or finished."""
    experiment, execution = folder.read_record()
    check_task(task, experiment, str(folder.path))
    later = ("last.safetensors", "metrics.jsonl", "best.safetensors", "result.json")
    begun = any((folder.path / name).exists() for name in later)  # the first checkpoint is written before a step
    checkpoint = read_checkpoint(folder, experiment) if begun else None
    if checkpoint is not None and checkpoint.state.finished and (folder.path / "result.json").is_file():
        path = folder.path
        again = run_command(task.program, "evaluate")
        raise UserError(f"{path}: run is already finished; evaluate it with: {again} {path}")
    return StoppedRun(folder, experiment, execution, checkpoint)


def _run(task: Task, run: Run, engine: Engine, group: ProcessGroup, options: TrainOptions) -> int:
    """Train until the end or a stop signal, then write and print the results. Return the exit code."""
    run = _train(run, engine, group, options)
    if not run.state.finished:
        if group.rank == 0:
            _show_stopped(task, run, options.alone)
        return INTERRUPTED
    with DataProgress() as progress:
        found = evaluate_best(
            engine, run, group, lambda *done: progress("evaluating the best checkpoint on test", *done)
        )
        dev = found
        if isinstance(found, TextEvaluation):
            dev = evaluate(engine, run.experiment.model.head, run.data.dev, group=group)
    if group.rank > 0:
        return 0
    result = summarize_run(run, found)  # first, as the peak memory is that of the model alone
    result = with_calibration(run, result, dev, found)
    if options.baseline and (baseline := fit_baseline(run, found, chosen_solver().solve)) is not None:
        result["baseline"] = baseline
    draw_or_note("curves.png", lambda: _draw_curves(run, run.title, result["test"]))
    _watch(run)
    with nullcontext() if options.alone else silent(OUTPUT):
        example = presenter(run.experiment).save(run, found, options.cache)
        run.folder.write_result(result)
        report(task, run, result, example)
    return 0


def _train(run: Run, engine: Engine, group: ProcessGroup, options: TrainOptions) -> Run:
    """Print the run's description, train it and show progress. Return the updated run."""
    experiment, data, step = run.experiment, run.data, run.state.step
    with silent(OUTPUT) if options.output is Output.NONE else nullcontext():
        describe(run)
    if step:
        fact("resume", f"from step {step}")
    _, steps = total_steps(experiment, data.train)
    with ExitStack() as during:
        should_stop = during.enter_context(stop_signals(group.size))
        observer = during.enter_context(TrainingDisplay(experiment.training.epochs, steps, step, options.alone))
        for name in options.logs if group.rank == 0 else ():
            log = during.enter_context(LOGS[name](run.folder.path, step))
            fact("events", f"{name} --logdir {quoted(log.folder)}")
            observer = Observers(observer, log)
        session = Session(experiment, data.train, data.dev, run.folder, run.state, data.unlabeled)
        state = train(engine, session, observer, should_stop, group)
    return dataclasses.replace(run, state=state)


def _show_stopped(task: Task, run: Run, alone: bool) -> None:
    """Draw the curves so far and print the resume command, for a run that is none of several."""
    step, (_, steps) = run.state.step, total_steps(run.experiment, run.data.train)
    draw_or_note("curves.png", lambda: _draw_curves(run, f"{run.title} (stopped at step {step})"))
    _watch(run)
    if not alone:
        return
    console.print(f"stopped at step {step} of {steps}, checkpoint saved. Resume with:")
    console.print(literal(f"  {run_command(task.program, 'resume')} {quoted(run.folder.path)}"))


def _watch(run: Run) -> None:
    """Draw gradients.png if the run recorded gradient norms."""
    if run.experiment.training.watch_gradients:
        path, title = run.folder.path / GRADIENTS, f"{run.title}: gradient norms by layer"
        draw_or_note(GRADIENTS, lambda: draw_gradients(run.folder.read_metrics(), title, path))


def _draw_curves(run: Run, title: str, test: dict | None = None) -> None:
    picture, reduction = run.folder.path / "curves.png", run.experiment.training.loss_reduction
    draw_curves(run.folder.read_metrics(), title, picture, reduction, test)
