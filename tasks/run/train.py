"""Starting, resuming and finishing a run: the part of a program that is the same for every task."""

from __future__ import annotations

import shlex
import signal
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from types import ModuleType

from rich.markup import escape

import backends
from backends import implementations, launchers
from core.data.dataset import Prepared
from core.engine import machine
from core.engine.contract import Engine
from core.engine.processes import SINGLE_PROCESS, PeerLost, ProcessGroup, broadcast, in_turn
from core.errors import UserError
from core.plots.curves import draw_curves
from core.spec.experiment import Experiment
from core.train.loop import check_finite, total_steps, train
from core.train.metrics import evaluate
from core.train.optimizer_state import check_moments
from core.train.results import result_of
from core.train.run_folder import ReadOnlyRunFolder, RunFolder, TrainingState
from core.train.setup import fitted, open_vectors_of, read_data, starting_values, tokenized_by
from tasks.cli.console import INTERRUPTED, DataProgress, TrainingDisplay, console, errors, fact
from tasks.cli.paths import new_name
from tasks.run import event_files
from tasks.run.summary import Task, describe, keep_confusion, keep_mistakes, report, title_of


def start(
    task: Task,
    experiment: Experiment,
    backend_name: str,
    device: str,
    implementation: str,
    out: str | None,
    cache: Path,
    tensorboard: bool = False,
) -> int:
    """Train from the beginning. Returns the exit code."""
    if tensorboard:
        event_files.check_installed()
    backend, device, world = _meet(backend_name, device, experiment)
    implementation = implementations.resolve_implementation(
        implementation, backend, device, experiment.model.encoder, experiment.training.dtype
    )
    path = Path(out) if out else new_name(Path("runs"), f"{experiment.task}-{backend_name}")
    with in_turn(world):
        if world.rank == 0:
            RunFolder.check_free(path)
        # Vectors that do not fit are refused before the reviews are read.
        vectors = open_vectors_of(experiment)
        with DataProgress() as progress:
            prepared, data_record = read_data(experiment, cache, progress=progress)
    experiment = fitted(experiment, prepared)
    training = experiment.training
    with DataProgress() as progress:
        parameters, vectors_record = starting_values(experiment, prepared, vectors, progress)
    engine = backend.Engine(experiment.model, training, parameters, device, implementation, world)
    folder = RunFolder.create(path) if world.rank == 0 else ReadOnlyRunFolder(path)
    who = executor(backend, engine, world)
    execution = {
        **who,
        "classes": prepared.classes,
        **tokenized_by(experiment),
        "data": data_record,
        **vectors_record,
        "machine": machine.description(),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "segments": [{"from_step": 0, **who}],
    }
    folder.write_record(experiment, execution)
    folder.write_vocabulary(prepared.vocabulary)
    return _run(task, experiment, execution, engine, prepared, folder, TrainingState(), cache, tensorboard, world)


def resume(
    task: Task,
    run: str,
    backend_name: str | None,
    device: str,
    implementation: str,
    cache: Path,
    tensorboard: bool = False,
) -> int:
    """Go on with a stopped run, in its own backend or another. Returns the exit code."""
    if tensorboard:
        event_files.check_installed()
    folder = RunFolder.open(Path(run))
    experiment, execution = folder.read_record()
    check_task(task, experiment, run)
    parameters, moments, state = folder.read_last(experiment.model)
    if state.finished and (folder.path / "result.json").is_file():
        raise UserError(f"{run}: this run is finished; python -m {task.program} evaluate {run} measures it again")
    if state.step:
        # What the end of the run will need, asked for now and not after hours.
        folder.read_metrics()
        where = str(folder.path / "last.safetensors")
        check_moments(moments, experiment.model, experiment.training.optimizer, where)
    if state.best_step:
        folder.read_best(experiment.model)
    backend, device, world = _meet(backend_name or execution["backend"], device, experiment)
    folder = folder if world.rank == 0 else ReadOnlyRunFolder(folder.path)
    implementation = implementations.resolve_implementation(
        implementation, backend, device, experiment.model.encoder, experiment.training.dtype
    )
    other = f"not the data that {run} was trained on; a resume needs the same"
    with in_turn(world):
        with DataProgress() as progress:
            prepared, _ = read_data(experiment, cache, (execution["data"]["fingerprint"], other), progress)
        if prepared.vocabulary != folder.read_vocabulary(experiment.model):
            raise UserError(f"{folder.path / 'vocab.json'}: not the vocabulary of this run's data: it was changed")
    engine = backend.Engine(experiment.model, experiment.training, parameters, device, implementation, world)
    engine.load(parameters, moments, state.step)
    folder.forget_metrics_after(state.step)
    who = executor(backend, engine, world)
    execution = {**execution, **who, "segments": [*execution["segments"], {"from_step": state.step, **who}]}
    folder.write_record(experiment, execution)
    return _run(task, experiment, execution, engine, prepared, folder, state, cache, tensorboard, world)


def check_task(task: Task, experiment: Experiment, where: str) -> None:
    """Raises UserError for a spec of another task: its data and classes are others."""
    if experiment.task != task.name:
        other = experiment.task
        raise UserError(f"{where}: a spec of task {other}, not {task.name}: see python -m tasks.{other}")


def _run(
    task: Task,
    experiment: Experiment,
    execution: dict,
    engine: Engine,
    prepared: Prepared,
    folder: RunFolder,
    state: TrainingState,
    cache: Path,
    tensorboard: bool,
    world: ProcessGroup,
) -> int:
    describe(experiment, execution, prepared, folder)
    if state.step:
        fact("resume", f"from step {state.step}")
    _, steps = total_steps(experiment, prepared.train)
    with ExitStack() as during:
        should_stop = during.enter_context(stop_signals(several=world.size > 1))
        observer = during.enter_context(TrainingDisplay(experiment.training.epochs, steps, state.step))
        if tensorboard and world.rank == 0:
            log = during.enter_context(event_files.EventLog(folder.path, state.step))
            fact("events", f"tensorboard --logdir {shlex.quote(str(log.folder))}")
            observer = event_files.Observers(observer, log)
        state = train(engine, experiment, prepared.train, prepared.dev, folder, state, observer, should_stop, world)
    title, reduction = title_of(experiment, execution), experiment.training.loss_reduction
    picture = folder.path / "curves.png"
    if world.rank > 0:
        return _stand_by(engine, experiment, prepared, state, world)
    if not state.finished:
        draw_curves(folder.read_metrics(), f"{title} (stopped at step {state.step})", picture, reduction)
        console.print(f"stopped at step {state.step} of {steps}, nothing is lost; go on with:")
        console.print(escape(f"  python -m {task.program} --resume {shlex.quote(str(folder.path))}"))
        return INTERRUPTED
    engine.load(broadcast(world, folder.read_best(experiment.model)), {}, 0)
    with DataProgress() as progress:
        found = evaluate(
            engine.logits,
            experiment.model.head,
            prepared.test,
            lambda done, total: progress("testing the best epoch", done, total),
            world,
        )
    check_finite(found.loss, "the loss on test", state.step)
    test, classes = prepared.test, execution["classes"]
    folder.write_predictions(test.names, test.labels, found.predicted, found.probabilities, classes)
    result = result_of(experiment, execution, prepared, state, found, folder.read_metrics())
    draw_curves(folder.read_metrics(), title, picture, reduction, result["test"])
    keep_confusion(folder, found, classes, title)
    example = keep_mistakes(folder, experiment, execution, test, found, cache)
    folder.write_result(result)
    report(task, folder, result, example)
    return 0


def _stand_by(
    engine: Engine, experiment: Experiment, prepared: Prepared, state: TrainingState, world: ProcessGroup
) -> int:
    """The end of a run for a process that is not the first: its share of the test."""
    if not state.finished:
        return INTERRUPTED
    engine.load(broadcast(world, engine.parameters()), {}, 0)
    evaluate(engine.logits, experiment.model.head, prepared.test, world=world)
    return 0


def _meet(backend_name: str, device: str, experiment: Experiment) -> tuple[ModuleType, str, ProcessGroup]:
    """The backend, the device, and this process among those that were started together."""
    backend, dtype = backends.load(backend_name), experiment.training.dtype
    place = launchers.launched(backend_name)
    device = backend.resolve_device(device, dtype)
    if place and device != "cpu":
        device = backend.resolve_device(f"gpu:{place[2]}", dtype)
    return backend, device, backend.init_process_group(device)


def executor(backend: ModuleType, engine: Engine, world: ProcessGroup = SINGLE_PROCESS) -> dict:
    """Who computes. The record keeps it of the whole run, and of each of its segments: a run can change framework."""
    return {
        "backend": backend.NAME,
        "device": engine.device,
        "implementation": engine.implementation,
        "versions": {**backend.versions(), **implementations.implementation_version(engine.implementation)},
        **({"processes": world.size} if world.size > 1 else {}),
    }


@contextmanager
def stop_signals(several: bool = False):
    """Yields a function that says whether Ctrl-C (or a TERM signal) came. A second one stops at once, as usual.

    Of `several` processes each gets the signals that its launcher passes on, and from a terminal Ctrl-C itself too.
    TERM comes as often as a launcher likes, Paddle's sends three in half a second, so all of them are one wish, to the
    process's end: what does not stop the launcher kills.
    """
    received = []

    def note(number, frame):
        if not received and not console.quiet:
            errors.print("stopping after this step, and saving; once more stops at once")
        received.append(number)
        for name, handler in before.items():
            if not several or name == number == signal.SIGINT:
                signal.signal(name, handler)

    before = {name: signal.signal(name, note) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    except PeerLost:
        # The launcher will send TERM too, and there is something to say first.
        received.append(signal.SIGTERM)
        raise
    finally:
        for name, handler in before.items():
            if not (several and received and name == signal.SIGTERM):
                signal.signal(name, handler)
