"""Starting, resuming and finishing a run: the part of a program that is the same for every task."""

from __future__ import annotations

import os
import shlex
import signal
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from types import ModuleType

import numpy as np
from rich.markup import escape

import backends
from core import digits, machine
from core.class_weights import with_class_weights
from core.contract import Engine
from core.corpus import Prepared, load_corpus, prepare
from core.errors import UserError
from core.files import user_path
from core.metrics import evaluate
from core.parameters import check_moments, initial_parameters
from core.plots import draw_curves
from core.run_folder import Bystander, RunFolder, TrainingState
from core.spec import TEXTS, Experiment, replace
from core.tokenizers import segmenter
from core.trainer import check_finite, total_steps, train
from core.vectors import PACKAGES, Vectors, check_width, look_up, open_vectors
from core.world import ALONE, Gone, World, first_says, in_turn
from tasks import event_log
from tasks.console import INTERRUPTED, DataProgress, TrainingDisplay, console, errors, fact
from tasks.reporting import Task, describe, keep_confusion, keep_mistakes, report, result_of, title_of


def cache_folder(given: str | None) -> Path:
    """Where downloads and tokenised reviews are kept: `--cache-dir`, or the user's cache folder."""
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seqtwin"


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
        event_log.check_installed()
    backend, device, world = _meet(backend_name, device, experiment)
    implementation = backends.resolve_implementation(implementation, device, experiment.model.encoder.cell)
    path = Path(out) if out else new_name(Path("runs"), f"{experiment.task}-{backend_name}")
    with in_turn(world):
        if world.rank == 0:
            RunFolder.check_free(path)
        # Vectors that do not fit are refused before the reviews are read.
        vectors = open_vectors_of(experiment)
        prepared, data_record = read_data(experiment, cache)
    experiment = fitted(experiment, prepared)
    training = experiment.training
    parameters, vectors_record = starting_values(experiment, prepared, vectors)
    engine = backend.Engine(experiment.model, training, parameters, device, implementation, world)
    folder = RunFolder.create(path) if world.rank == 0 else Bystander(path)
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
        event_log.check_installed()
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
    folder = folder if world.rank == 0 else Bystander(folder.path)
    implementation = backends.resolve_implementation(implementation, device, experiment.model.encoder.cell)
    other = f"not the data that {run} was trained on; a resume needs the same"
    with in_turn(world):
        prepared, _ = read_data(experiment, cache, (execution["data"]["fingerprint"], other))
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


def absolute_source(experiment: Experiment) -> Experiment:
    """A path in the record, of data or word vectors, must mean the same from every folder."""
    data, vectors = experiment.data, experiment.model.embedding.vectors
    names = () if data.kind == "table" else ("packaged", "official")
    paths = {field: getattr(data, field, None) for field in ("source", "dev", "test")}
    changes = {
        f"data.{field}": str(user_path(path).absolute())
        for field, path in paths.items()
        if path is not None and path not in names
    }
    if vectors is not None and vectors not in PACKAGES:
        changes["model.embedding.vectors"] = str(user_path(vectors).absolute())
    return replace(experiment, changes) if changes else experiment


def open_vectors_of(experiment: Experiment) -> Vectors | None:
    """The word vectors that the spec starts from. Raises UserError: not there, or not of the spec's width."""
    embedding = experiment.model.embedding
    if embedding.vectors is None:
        return None
    vectors = open_vectors(embedding.vectors)
    check_width(vectors, embedding.dim)
    return vectors


def fitted(experiment: Experiment, prepared: Prepared) -> Experiment:
    """The experiment with the numbers that only its data tell: size of the vocabulary, classes, their weights."""
    weights, names = experiment.training.class_weights, prepared.classes
    if isinstance(weights, tuple) and len(weights) != len(names):
        shown = ", ".join(names[:20])
        raise UserError(f"training.class_weights are {len(weights)}, and the data have {len(names)} classes: {shown}")
    changes: dict[str, object] = {"model.embedding.vocab_size": len(prepared.vocabulary)}
    if experiment.known_classes is None:
        changes["model.head.classes"] = len(prepared.classes)
    return with_class_weights(replace(experiment, changes), prepared.train.labels)


def tokenized_by(experiment: Experiment) -> dict[str, str]:
    """For the record: the package that cuts texts, where it is another's."""
    package = segmenter(experiment.text) if experiment.data.kind in TEXTS else ""
    return {"tokenized_by": package} if package else {}


def starting_values(
    experiment: Experiment, prepared: Prepared, vectors: Vectors | None
) -> tuple[dict[str, np.ndarray], dict]:
    """Parameters as the spec draws them, the rows of words that `vectors` know replaced; and what the record says."""
    training = experiment.training
    parameters = initial_parameters(experiment.model, training.seed, training.array_dtype)
    if vectors is None:
        return parameters, {}
    with DataProgress() as progress:
        found = look_up(vectors, prepared.vocabulary, experiment.text.lowercase, progress)
    parameters["embedding.weight"][found.ids] = found.values
    record = {"found": len(found.ids), "missing": len(found.missing), "fingerprint": found.fingerprint}
    return parameters, {"vectors": {"source": vectors.name, **record}}


def read_data(experiment: Experiment, cache: Path, wanted: tuple[str, str] | None = None) -> tuple[Prepared, dict]:
    """The data of an experiment, tokenised, split and encoded; and what the run's record says of them.

    `wanted` is the fingerprint that they must have, and what to say of them where they have another.
    """
    if experiment.data.kind == "digits":
        prepared, description = digits.prepare(experiment.data), digits.describe(experiment.data)
        record = {"kind": "digits", "description": description, "fingerprint": description}
        return prepared, {**record, **prepared.summary}
    with DataProgress() as progress:
        corpus, source = load_corpus(experiment.data, experiment.text, cache, progress)
        if wanted is not None and source.fingerprint != wanted[0]:
            # Before they are split, which other data may not bear.
            raise UserError(f"{source.description}: {wanted[1]}")
        prepared = prepare(corpus, experiment.data, experiment.text, experiment.known_classes)
    record = {"kind": source.kind, "description": source.description, "fingerprint": source.fingerprint}
    return prepared, {**record, **prepared.summary}


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
    world: World,
) -> int:
    describe(experiment, execution, prepared, folder)
    if state.step:
        fact("resume", f"from step {state.step}")
    _, steps = total_steps(experiment, prepared.train)
    with ExitStack() as during:
        should_stop = during.enter_context(stop_signals(several=world.size > 1))
        observer = during.enter_context(TrainingDisplay(experiment.training.epochs, steps, state.step))
        if tensorboard and world.rank == 0:
            log = during.enter_context(event_log.EventLog(folder.path, state.step))
            fact("events", f"tensorboard --logdir {shlex.quote(str(log.folder))}")
            observer = event_log.Observers(observer, log)
        state = train(engine, experiment, prepared.train, prepared.dev, folder, state, observer, should_stop, world)
    title, reduction = title_of(experiment, execution), experiment.training.loss_reduction
    picture = folder.path / "curves.png"
    if world.rank > 0:
        return _stand_by(engine, prepared, state, world)
    if not state.finished:
        draw_curves(folder.read_metrics(), f"{title} (stopped at step {state.step})", picture, reduction)
        console.print(f"stopped at step {state.step} of {steps}, nothing is lost; go on with:")
        console.print(escape(f"  python -m {task.program} --resume {shlex.quote(str(folder.path))}"))
        return INTERRUPTED
    engine.load(first_says(world, folder.read_best(experiment.model)), {}, 0)
    with DataProgress() as progress:
        found = evaluate(
            engine.logits, prepared.test, lambda done, total: progress("testing the best epoch", done, total), world
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


def _stand_by(engine: Engine, prepared: Prepared, state: TrainingState, world: World) -> int:
    """The end of a run for a process that is not the first: its share of the test."""
    if not state.finished:
        return INTERRUPTED
    engine.load(first_says(world, engine.parameters()), {}, 0)
    evaluate(engine.logits, prepared.test, world=world)
    return 0


def _meet(backend_name: str, device: str, experiment: Experiment) -> tuple[ModuleType, str, World]:
    """The backend, the device, and this process among those that were started together."""
    backend, dtype = backends.load(backend_name), experiment.training.dtype
    place = backends.launched(backend_name)
    device = backend.resolve_device(device, dtype)
    if place and device != "cpu":
        device = backend.resolve_device(f"gpu:{place[2]}", dtype)
    return backend, device, backend.join(device)


def executor(backend: ModuleType, engine: Engine, world: World = ALONE) -> dict:
    """Who computes. The record keeps it of the whole run, and of each of its segments: a run can change framework."""
    return {
        "backend": backend.NAME,
        "device": engine.device,
        "implementation": engine.implementation,
        "versions": {**backend.versions(), **backends.implementation_version(engine.implementation)},
        **({"processes": world.size} if world.size > 1 else {}),
    }


def new_name(parent: Path, prefix: str) -> Path:
    """A run name that is free: the time, and a number where two start within one second."""
    stem = parent / f"{prefix}-{datetime.now():%Y%m%d-%H%M%S}"
    path, number = stem, 1
    while path.exists():
        number += 1
        path = Path(f"{stem}-{number}")
    return path


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
    except Gone:
        # The launcher will send TERM too, and there is something to say first.
        received.append(signal.SIGTERM)
        raise
    finally:
        for name, handler in before.items():
            if not (several and received and name == signal.SIGTERM):
                signal.signal(name, handler)
