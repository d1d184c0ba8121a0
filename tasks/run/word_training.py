"""Start, resume and finish a word2vec run, in either backend."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType

from backends import kernels
from backends.implementations import implementation_version, resolve_word_implementation
from core.engine import machine
from core.engine.executor import Executor
from core.errors import UserError
from core.models.types import Arrays
from core.plots.word_curves import draw_word_curves
from core.spec.word_runs import VECTORS
from core.spec.words import IN, TrainingSplit, WordExperiment
from core.train.record import executor_record
from core.train.run_folder import RunFolder
from core.train.run_lock import held
from core.words.corpus import WordCorpus
from core.words.examples import Sampler
from core.words.loop import Session, train
from core.words.probes import choose_probes
from core.words.reference import initial_vectors
from core.words.run_folder import WordRunFolder
from core.words.run_state import WordState
from core.words.texts import load_corpus
from core.words.vector_text import write_vectors
from tasks.cli.commands import program_command
from tasks.cli.console import INTERRUPTED, DataProgress, fact
from tasks.cli.framework import load_backend
from tasks.cli.paths import new_name
from tasks.cli.terminal import note
from tasks.run.present.pictures import draw_or_note
from tasks.run.signals import stop_signals
from tasks.run.word_display import PROGRAM, WordDisplay, describe, report, show_stopped
from tasks.run.worker import Request


@dataclass(frozen=True)
class WordOptions:
    """What computes a run, and its files."""

    request: Request
    cache: Path
    out: str | None = None
    """Folder of a new run; None for a new name in `runs`."""
    threads: int | None = None
    """Threads of the compiled kernels; None for `OMP_NUM_THREADS` or all cores."""
    probes: tuple[str, ...] | None = None
    """Words whose nearest words are shown; None for usual ones."""
    probe_interval: int = 0
    """Chunks between evaluations within an epoch; 0 for none."""


@dataclass(frozen=True)
class _Worker:
    """What one run computes with; all of it is known to work."""

    backend: ModuleType
    executor: Executor

    @classmethod
    def of(cls, options: WordOptions, dtype: str) -> _Worker:
        """Raises UserError if backend, device or implementation is unavailable."""
        backend = load_backend(options.request.backend_name)
        device = backend.resolve_device(options.request.device, dtype)
        kernels.set_threads(options.threads)
        return cls(backend, Executor(device, resolve_word_implementation(options.request.implementation, device)))

    def record(self) -> dict:
        """Return the entries of the run's record about this worker."""
        implementation = self.executor.implementation
        versions = {**self.backend.versions(), **implementation_version(implementation)}
        threads = {"threads": kernels.threads()} if implementation == "fast" else {}
        return executor_record(self.backend.NAME, self.executor, versions) | threads


@dataclass(frozen=True)
class _Run:
    experiment: WordExperiment
    execution: dict
    corpus: WordCorpus
    folder: WordRunFolder
    state: WordState


def start(experiment: WordExperiment, options: WordOptions) -> int:
    """Start a new run and train it. Return the exit code."""
    backend = options.request.backend_name
    path = Path(options.out) if options.out else new_name(Path("runs"), f"word2vec-{backend}")
    RunFolder.check_free(path)
    worker = _Worker.of(options, experiment.training.dtype)
    with DataProgress() as progress:
        corpus, data = load_corpus(experiment, options.cache, progress)
    probes, unknown = choose_probes(corpus, options.probes)
    if unknown:
        note(f"probes that are not in the vocabulary are left out: {', '.join(unknown)}")
    own = worker.record()
    execution = {
        **own,
        "data": data,
        "probes": probes,
        "probe_interval": options.probe_interval,
        "machine": machine.description(),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "segments": [{"from_step": 0, **own}],
    }
    start_values = initial_vectors(experiment.model, experiment.training, len(corpus.words))
    folder = WordRunFolder.create(path)
    with held(path):
        folder.write_record(experiment, execution)
        folder.write_words(corpus)
        return _run(worker, _Run(experiment, execution, corpus, folder, WordState()), start_values)


def resume(path: str, options: WordOptions) -> int:
    """Resume a stopped run, with its backend or another. Return the exit code."""
    folder = WordRunFolder.open(Path(path))
    with held(folder.path):
        experiment, execution = folder.read_record()
        if folder.finished:
            raise UserError(
                f"{folder.path}: run is already finished; write its vectors with: {program_command(PROGRAM)} export"
            )
        begun, recorded = folder.begun, execution["data"]
        if begun:  # damage shows before the data is read
            folder.read_tables(experiment, recorded["vocabulary"])
        options = dataclasses.replace(options, request=options.request.or_backend(execution["backend"]))
        worker = _Worker.of(options, experiment.training.dtype)
        with DataProgress() as progress:
            corpus, data = load_corpus(experiment, options.cache, progress, recorded["fingerprint"])
        changed = [name for name in data if name != "description" and data[name] != recorded.get(name)]
        if changed:
            raise UserError(
                f"{folder.path}: the corpus has {changed[0]} {data[changed[0]]}, expected {recorded.get(changed[0])}:"
                f" use the version of seqtwin that started the run, or start a new run"
            )
        if begun:
            chunks = len(corpus.chunks(experiment.training.chunk_words)) - 1
            tables, state = folder.read_last(experiment, len(corpus.words), chunks)
        else:
            tables, state = initial_vectors(experiment.model, experiment.training, len(corpus.words)), WordState()
        folder.recover(state)
        own = worker.record()
        earlier = [part for part in execution["segments"] if part["from_step"] < state.step]
        execution = {**execution, **own, "segments": [*earlier, {"from_step": state.step, **own}]}
        folder.write_record(experiment, execution)
        folder.write_words(corpus)
        return _run(worker, _Run(experiment, execution, corpus, folder, state), tables)


def _run(worker: _Worker, run: _Run, tables: Arrays) -> int:
    """Train until the end or a stop signal, then write and print the results. Return the exit code."""
    experiment, state, folder, epochs = run.experiment, run.state, run.folder, run.experiment.training.epochs
    engine = worker.backend.WordEngine(tables, worker.executor)
    sampler = Sampler(run.corpus, experiment.model, experiment.training, engine.draw_noise)
    chunks = len(sampler)
    describe(experiment, run.execution, folder)
    done = state.epoch * chunks + state.place
    if done:
        fact("resume", f"from chunk {done} of {epochs * chunks}")
    probes, interval = run.execution["probes"], run.execution["probe_interval"]
    brief = isinstance(experiment.data, TrainingSplit)
    with stop_signals() as should_stop, WordDisplay(epochs, chunks, done, brief) as observer:
        finished = train(engine, Session(sampler, folder, state, probes, interval), observer, should_stop)
    draw_or_note("curves.png", lambda: _draw(run))
    if not finished:
        show_stopped(folder, state, epochs, chunks)
        return INTERRUPTED
    with DataProgress() as progress:
        write_vectors(folder.path / VECTORS, run.corpus.words, engine.parameters()[IN], progress)
    result = _result(run, chunks)
    folder.write_result(result)
    report(experiment, run.execution, folder, result)
    return 0


def _result(run: _Run, chunks: int) -> dict:
    state = run.state
    return {
        "backend": run.execution["backend"],
        "device": run.execution["device"],
        "implementation": run.execution["implementation"],
        "loss": state.loss / max(state.counted, 1),
        "epochs": state.epoch,
        "chunks": state.epoch * chunks,
        "steps": state.step,
        "words": state.words,
        "predictions": state.predictions,
        "seconds": round(state.seconds, 3),
        "cpu_seconds": round(state.cpu_seconds, 3),
        "words_per_second": round(state.words / max(state.seconds, 1e-9), 1),
        "peak_memory_mb": machine.peak_memory_mb(),
    }


def _draw(run: _Run) -> None:
    execution, backend = run.execution, run.execution["backend"]
    version = execution["versions"][backend]
    title = f"word2vec {run.experiment.model.kind}, {backend} {version} on {execution['device']}"
    draw_word_curves(run.folder.read_metrics(), title, run.folder.path / "curves.png")
