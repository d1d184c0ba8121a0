"""Starting, resuming and finishing a run: the part of a program that is the same for every task."""

from __future__ import annotations

import os
import shlex
import signal
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType

import numpy as np
from rich.markup import escape

import backends
from core import digits, machine
from core.contract import Engine
from core.corpus import Prepared, load_corpus, prepare
from core.errors import UserError
from core.metrics import Evaluation, evaluate
from core.parameters import check_moments, initial_parameters, parameter_table
from core.plots import draw_curves
from core.run_folder import RunFolder, TrainingState
from core.spec import Experiment, replace
from core.trainer import check_finite, total_steps, train
from core.vectors import PACKAGES, Vectors, check_width, look_up, open_vectors
from tasks import event_log
from tasks.console import INTERRUPTED, DataProgress, TrainingDisplay, console, errors, fact


@dataclass(frozen=True)
class Task:
    """What is particular to one task."""

    program: str
    """As it is typed after `python -m`."""
    classes: tuple[str, ...]
    """Names of the labels, by number."""


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
    backend = backends.load(backend_name)
    device = backend.resolve_device(device)
    implementation = backends.resolve_implementation(implementation, device, experiment.model.encoder.cell)
    path = Path(out) if out else new_name(Path("runs"), f"{experiment.task}-{backend_name}")
    RunFolder.check_free(path)
    # Vectors that do not fit are refused before the reviews are read.
    vectors = open_vectors_of(experiment)
    prepared, data_record = read_data(experiment, cache)
    experiment = experiment.with_vocab_size(len(prepared.vocabulary))
    training = experiment.training
    parameters, vectors_record = starting_values(experiment, prepared, vectors)
    engine = backend.Engine(experiment.model, training, parameters, device, implementation)
    folder = RunFolder.create(path)
    who = executor(backend, engine)
    execution = {
        **who,
        "classes": list(task.classes),
        "data": data_record,
        **vectors_record,
        "machine": machine.description(),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "segments": [{"from_step": 0, **who}],
    }
    folder.write_record(experiment, execution)
    folder.write_vocabulary(prepared.vocabulary)
    return _run(task, experiment, execution, engine, prepared, folder, TrainingState(), tensorboard)


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
    backend = backends.load(backend_name or execution["backend"])
    device = backend.resolve_device(device)
    implementation = backends.resolve_implementation(implementation, device, experiment.model.encoder.cell)
    prepared, data_record = read_data(experiment, cache)
    if data_record["fingerprint"] != execution["data"]["fingerprint"]:
        raise UserError(f"{experiment.data.source}: not the data that {run} was trained on; a resume needs the same")
    if prepared.vocabulary != folder.read_vocabulary(experiment.model):
        raise UserError(f"{folder.path / 'vocab.json'}: not the vocabulary of this run's data: the file was changed")
    engine = backend.Engine(experiment.model, experiment.training, parameters, device, implementation)
    engine.load(parameters, moments, state.step)
    folder.forget_metrics_after(state.step)
    who = executor(backend, engine)
    execution = {**execution, **who, "segments": [*execution["segments"], {"from_step": state.step, **who}]}
    folder.write_record(experiment, execution)
    return _run(task, experiment, execution, engine, prepared, folder, state, tensorboard)


def check_task(task: Task, experiment: Experiment, where: str) -> None:
    """Raises UserError for a spec of another task: its data and classes are others."""
    own = task.program.rpartition(".")[2]
    if experiment.task != own:
        raise UserError(f"{where}: a spec of task {experiment.task}, not {own}: see python -m tasks.{experiment.task}")


def absolute_source(experiment: Experiment) -> Experiment:
    """A path in the record, of data or word vectors, must mean the same from every folder."""
    source, vectors = getattr(experiment.data, "source", "packaged"), experiment.model.embedding.vectors
    changes = {}
    if source not in ("packaged", "official"):
        changes["data.source"] = str(Path(source).expanduser().absolute())
    if vectors is not None and vectors not in PACKAGES:
        changes["model.embedding.vectors"] = str(Path(vectors).expanduser().absolute())
    return replace(experiment, changes) if changes else experiment


def open_vectors_of(experiment: Experiment) -> Vectors | None:
    """The word vectors that the spec starts from. Raises UserError: not there, or not of the spec's width."""
    embedding = experiment.model.embedding
    if embedding.vectors is None:
        return None
    vectors = open_vectors(embedding.vectors)
    check_width(vectors, embedding.dim)
    return vectors


def starting_values(
    experiment: Experiment, prepared: Prepared, vectors: Vectors | None
) -> tuple[dict[str, np.ndarray], dict]:
    """Parameters as the spec draws them, the rows of words that `vectors` know replaced; and what the record says."""
    training = experiment.training
    parameters = initial_parameters(experiment.model, training.seed, training.dtype)
    if vectors is None:
        return parameters, {}
    with DataProgress() as progress:
        found = look_up(vectors, prepared.vocabulary, experiment.text.lowercase, progress)
    parameters["embedding.weight"][found.ids] = found.values
    record = {"found": len(found.ids), "missing": len(found.missing), "fingerprint": found.fingerprint}
    return parameters, {"vectors": {"source": vectors.name, **record}}


def read_data(experiment: Experiment, cache: Path) -> tuple[Prepared, dict]:
    """The data of an experiment, tokenised, split and encoded; and what the run's record says of them."""
    if experiment.data.kind == "digits":
        prepared, description = digits.prepare(experiment.data), digits.describe(experiment.data)
        record = {"kind": "digits", "description": description, "fingerprint": description}
        return prepared, {**record, **prepared.summary}
    with DataProgress() as progress:
        corpus, source = load_corpus(experiment.data, experiment.text, cache, progress)
        prepared = prepare(corpus, experiment.data, experiment.text, experiment.model.head.classes)
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
    tensorboard: bool,
) -> int:
    _describe(experiment, execution, prepared, folder)
    if state.step:
        fact("resume", f"from step {state.step}")
    _, steps = total_steps(experiment, prepared.train)
    with ExitStack() as during:
        should_stop = during.enter_context(stop_signals())
        observer = during.enter_context(TrainingDisplay(experiment.training.epochs, steps, state.step))
        if tensorboard:
            log = during.enter_context(event_log.EventLog(folder.path, state.step))
            fact("events", f"tensorboard --logdir {shlex.quote(str(log.folder))}")
            observer = event_log.Observers(observer, log)
        state = train(engine, experiment, prepared.train, prepared.dev, folder, state, observer, should_stop)
    title, reduction = _title(experiment, execution), experiment.training.loss_reduction
    picture = folder.path / "curves.png"
    if not state.finished:
        draw_curves(folder.read_metrics(), f"{title} (stopped at step {state.step})", picture, reduction)
        console.print(f"stopped at step {state.step} of {steps}, nothing is lost; go on with:")
        console.print(escape(f"  python -m {task.program} --resume {shlex.quote(str(folder.path))}"))
        return INTERRUPTED
    engine.load(folder.read_best(experiment.model), {}, 0)
    with DataProgress() as progress:
        found = evaluate(
            engine.logits, prepared.test, lambda done, total: progress("testing the best epoch", done, total)
        )
    check_finite(found.loss, "the loss on test", state.step)
    test, classes = prepared.test, execution["classes"]
    folder.write_predictions(test.names, test.labels, found.predicted, found.probabilities, classes)
    result = result_of(experiment, execution, prepared, state, found)
    draw_curves(folder.read_metrics(), title, picture, reduction, result["test"])
    folder.write_result(result)
    _report(task, folder, result)
    return 0


def result_of(
    experiment: Experiment, execution: dict, prepared: Prepared, state: TrainingState, found: Evaluation
) -> dict:
    return {
        "task": experiment.task,
        "recipe": experiment.recipe,
        "backend": execution["backend"],
        "device": execution["device"],
        "implementation": execution["implementation"],
        "data": execution["data"]["description"],
        "test": {
            "documents": len(prepared.test),
            "accuracy": found.accuracy,
            "loss": found.loss,
            "macro_f1": found.macro_f1,
            "confusion": found.confusion.tolist(),
        },
        "dev": {"accuracy": state.best_accuracy, "loss": state.best_loss, "step": state.best_step},
        "training": {
            "steps": state.step,
            "seconds": round(state.seconds, 3),
            "epoch_seconds": [round(seconds, 3) for seconds in state.epoch_seconds],
            "tokens": state.tokens,
            "tokens_per_second": round(state.tokens / state.seconds, 1),
        },
        "peak_memory_mb": machine.peak_memory_mb(),
    }


def _report(task: Task, folder: RunFolder, result: dict) -> None:
    test, dev, training = result["test"], result["dev"], result["training"]
    console.print()
    console.print(
        f"[bold]test accuracy {test['accuracy']:.4f}[/] on {test['documents']:,} held-out reviews"
        f" (dev {dev['accuracy']:.4f} at step {dev['step']}; macro F1 {test['macro_f1']:.4f})"
    )
    epochs, memory = training["epoch_seconds"], result["peak_memory_mb"]
    console.print(
        f"trained in {training['seconds']:.0f} s ({sum(epochs) / max(len(epochs), 1):.1f} s per epoch,"
        f" {training['tokens_per_second']:,.0f} tokens/s" + (f", peak memory {memory:,} MB)" if memory else ")")
    )
    fact("curves", str(folder.path / "curves.png"))
    fact(
        "try",
        f'python -m {task.program} predict {shlex.quote(str(folder.path))} "A wonderful film, I loved every minute."',
    )


def _describe(experiment: Experiment, execution: dict, prepared: Prepared, folder: RunFolder) -> None:
    model, data = experiment.model, execution["data"]
    encoder, head = model.encoder, model.head
    versions = ", ".join(f"{name} {version}" for name, version in execution["versions"].items() if name != "kernels")
    fact("task", f"{experiment.task}, recipe {experiment.recipe}")
    fact("backend", f"{versions}; device {execution['device']}; recurrent layers: {_layers(execution)}")
    fact("data", data["description"])
    counts = ", ".join(f"{data[part]['documents']:,} {part}" for part in ("train", "dev", "test"))
    fact("", f"{counts}; dev split {data['dev_split']}; vocabulary {len(prepared.vocabulary):,}")
    size = sum(int(np.prod(row.shape)) for row in parameter_table(model))
    direction = "bidirectional " if encoder.bidirectional else ""
    fact(
        "model",
        f"embedding {model.embedding.vocab_size:,} x {model.embedding.dim}, {encoder.num_layers} x {direction}"
        f"{encoder.cell.upper()} {encoder.hidden_size}, {head.pooling} pooling, {size:,} parameters",
    )
    if "vectors" in execution:
        fact("vectors", _vectors(execution["vectors"], model.embedding.trainable))
    fact("run", str(folder.path))


def _vectors(record: dict, trainable: bool) -> str:
    found, words = record["found"], record["found"] + record["missing"]
    return (
        f"{record['source']}: {found:,} of {words:,} words found ({100 * found / words:.1f} %),"
        f" the rest as the spec says; {'trained' if trainable else 'frozen'}"
    )


def _layers(execution: dict) -> str:
    """The implementation, and what there is to say about it: its build, or why it is not ours."""
    name, obstacle = execution["implementation"], backends.no_fast(execution["device"])
    if name == "fast":
        return f"fast (ours, {execution['versions']['kernels']})"
    return f"{name} (not fast: {obstacle})" if obstacle else name


def _title(experiment: Experiment, execution: dict) -> str:
    versions = execution["versions"]
    name = f"{execution['backend']} {versions[execution['backend']]}"
    kind = execution["data"]["kind"]
    where = f"{name} on {execution['device']}, {'local' if kind == 'path' else kind} data"
    return f"{experiment.task}, recipe {experiment.recipe}, {where}"


def executor(backend: ModuleType, engine: Engine) -> dict:
    """Who computes. The record keeps it of the whole run, and of each of its segments: a run can change framework."""
    return {
        "backend": backend.NAME,
        "device": engine.device,
        "implementation": engine.implementation,
        "versions": {**backend.versions(), **backends.implementation_version(engine.implementation)},
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
def stop_signals():
    """Yields a function that says whether Ctrl-C (or a TERM signal) came. A second one stops at once, as usual."""
    received = []

    def note(number, frame):
        received.append(number)
        errors.print("stopping after this step, and saving; once more stops at once")
        for name, handler in before.items():
            signal.signal(name, handler)

    before = {name: signal.signal(name, note) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
