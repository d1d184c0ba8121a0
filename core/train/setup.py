"""Preparation of a run: data, spec fields that depend on data, initial values or checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.batch import PAD
from core.data.class_checks import note_similar_labels
from core.data.dataset import Prepared
from core.data.download import Progress, no_progress
from core.data.ngrams.fit import Fitted
from core.data.ngrams.solver import Solver, solve
from core.data.pretrained_vectors import Lookup, Vectors, check_width, look_up, open_vectors
from core.engine.memory import check_memory, check_ngram_memory, host_limit
from core.engine.processes import ProcessGroup, local_rank_0_first
from core.errors import UserError
from core.models.embedding import STATIC_TABLE, TABLE, Embedding
from core.models.model import initial_parameters
from core.spec.experiment import Experiment, replace
from core.spec.words import WORD2VEC
from core.train.average import check_average
from core.train.ngrams import NGRAMS, fit_ngrams, ngrams_record, read_ngrams, with_ngrams
from core.train.optimizer_state import check_moments
from core.train.prepare_data import fitted, read_data, tokenized_by, with_unlabeled
from core.train.run_folder import TARGET_VOCABULARY, RunFolder
from core.train.start_run import StartRun, open_start, take_values
from core.train.state import TrainingState
from core.train.steps import total_steps


@dataclass(frozen=True)
class Checkpoint:
    """Values from which training starts or resumes."""

    parameters: dict[str, np.ndarray]
    moments: dict[str, np.ndarray] = field(default_factory=dict)
    """Optimizer state by `KIND/PARAMETER`."""
    state: TrainingState = field(default_factory=TrainingState)


@dataclass(frozen=True)
class Setup:
    """A prepared run, independent of the backend."""

    experiment: Experiment
    data: Prepared
    checkpoint: Checkpoint
    execution: dict
    """The execution record so far; for a new run: classes, data and word vectors."""
    ngrams: Fitted | None = None
    """The linear model of n-grams, if the spec has one; the data sets have its numbers."""


@dataclass(frozen=True)
class Inputs:
    """What a run is prepared from, besides its spec."""

    cache: Path
    """Folder of downloads and tokenized texts."""
    trained: Vectors | None = None
    """Word vectors of the section `words`, if the spec has one."""
    progress: Progress = no_progress
    solver: Solver = solve
    """Fits linear models of n-grams."""

    def fit_ngrams(self, experiment: Experiment, data: Prepared) -> Fitted | None:
        """Fit the linear model of n-grams, if the spec has one, with its progress."""
        return fit_ngrams(experiment, data, self.solver, lambda *done: self.progress("fitting n-grams", *done))


def prepare_start(experiment: Experiment, path: Path, group: ProcessGroup, inputs: Inputs) -> Setup:
    """Read the data and draw the initial values of a new run; write nothing.

    Raises UserError if the run folder `path` cannot be created, or if data or word vectors do not match the spec.
    """
    with local_rank_0_first(group):
        if group.rank == 0:
            RunFolder.check_free(path)
        # Vectors are checked first, before reading the data, which takes longer.
        vectors, other = open_vectors_of(experiment, inputs.trained), open_start(experiment)
        data, data_record = read_data(experiment, inputs.cache, progress=inputs.progress)
        data, more = with_unlabeled(experiment, data, inputs.cache, progress=inputs.progress)
        data_record |= more
    if group.rank == 0 and experiment.data.kind == "table":
        note_similar_labels(data.classes, data.summary["train"]["per_class"])
    experiment = fitted(experiment, data)
    check_memory(experiment, host_limit(), lengths=data.train.lengths[:0])
    check_ngram_memory(experiment, host_limit(), len(data.train.tokens))
    ngrams = inputs.fit_ngrams(experiment, data)
    experiment, ngrams, ngrams_entry = _useful(experiment, data, ngrams)
    parameters, vectors_record = starting_values(
        experiment, data, other if vectors is None else vectors, inputs.progress
    )
    execution = {
        "classes": data.classes,
        **tokenized_by(experiment),
        "data": data_record,
        **vectors_record,
        **ngrams_entry,
    }
    return Setup(experiment, with_ngrams(experiment, data, ngrams), Checkpoint(parameters), execution, ngrams)


def _useful(
    experiment: Experiment, data: Prepared, ngrams: Fitted | None
) -> tuple[Experiment, Fitted | None, dict[str, dict]]:
    """Return the spec and its n-grams, without any if it wants only useful ones, and the record entry."""
    spec = experiment.model.ngrams
    if ngrams is None or spec is None or data.whole is None:
        return experiment, ngrams, {}
    record = ngrams_record(ngrams, data.whole("train").labels)
    if record["useful"] or not spec.only_if_useful or experiment.model.is_linear:
        return experiment, ngrams, {"ngrams": record}
    return replace(experiment, {"model.ngrams": None}), None, {"ngrams": record}


def read_checkpoint(folder: RunFolder, experiment: Experiment) -> Checkpoint:
    """Read the last checkpoint of a run.

    Raises UserError if any file that the run needs later is missing, damaged or of another run, so that a resumed run
    does not fail after hours of training.
    """
    checkpoint = Checkpoint(*folder.read_last(experiment.model))
    if checkpoint.state.step:
        where = str(folder.path / "last.safetensors")
        check_moments(checkpoint.moments, experiment.model, experiment.training.optimizer, where)
        folder.read_average(experiment.model)
    if checkpoint.state.best_step:
        folder.read_best(experiment.model)
    return checkpoint


@dataclass(frozen=True)
class StoppedRun:
    """A run that was stopped, as read from its folder."""

    folder: RunFolder
    experiment: Experiment
    execution: dict
    """The record of the run."""
    checkpoint: Checkpoint | None
    """None if it ended before its first checkpoint."""


def prepare_resume(run: StoppedRun, group: ProcessGroup, inputs: Inputs) -> Setup:
    """Read the data of a stopped run. Without a checkpoint it starts from step 0.

    Raises UserError if data or vocabulary changed, or for a checkpoint after the last step.
    """
    experiment, checkpoint = run.experiment, run.checkpoint
    other = f"not the data that {run.folder.path} was trained on: restore it, or start a new run"
    with local_rank_0_first(group):
        vectors = open_vectors_of(experiment, inputs.trained) if checkpoint is None else None
        start = open_start(experiment) if checkpoint is None else None
        wanted = run.execution["data"]["fingerprint"], other
        data, _ = read_data(experiment, inputs.cache, wanted, inputs.progress)
        wanted = run.execution["data"].get("unlabeled", {}).get("fingerprint"), other
        data, _ = with_unlabeled(experiment, data, inputs.cache, wanted, inputs.progress)
        if checkpoint is not None or (run.folder.path / "vocab.json").exists():
            check_vocabulary(run.folder, experiment, data)
    kept = checkpoint is not None or (run.folder.path / NGRAMS).exists()
    ngrams = read_ngrams(run.folder.path, experiment.model) if kept else inputs.fit_ngrams(experiment, data)
    data = with_ngrams(experiment, data, ngrams)
    if checkpoint is None:
        parameters, record = starting_values(experiment, data, start if vectors is None else vectors, inputs.progress)
        if record.get("start") != run.execution.get("start"):
            raise UserError(f"{experiment.start}: not the checkpoint that this run started from: restore it")
        if record.get("vectors") != run.execution.get("vectors"):
            raise UserError(f"{experiment.model.embedding.vectors}: not the word vectors of this run: restore them")
        return Setup(experiment, data, Checkpoint(parameters), run.execution, ngrams)
    _, total = total_steps(experiment, data.train)
    if checkpoint.state.step > total:
        where = run.folder.path / "last.safetensors"
        raise UserError(f"{where}: damaged, got step {checkpoint.state.step}, expected at most {total}: restore it")
    if not check_average(run.folder.read_average(experiment.model), experiment.training, checkpoint.state.step, total):
        where = run.folder.path / "last.safetensors"
        raise UserError(f"{where}: damaged, has no average of the parameters, or one too early: restore it")
    return Setup(experiment, data, checkpoint, run.execution, ngrams)


def check_vocabulary(folder: RunFolder, experiment: Experiment, data: Prepared) -> None:
    """Raise UserError if `vocab.json` is not the vocabulary of the run's data."""
    if data.vocabulary != folder.read_vocabulary(experiment.model):
        raise UserError(f"{folder.path / 'vocab.json'}: does not match the data of this run: restore the file")
    if data.target_vocabulary is not None and data.target_vocabulary != folder.read_target_vocabulary(experiment.model):
        where = folder.path / TARGET_VOCABULARY
        raise UserError(f"{where}: does not match the data of this run: restore the file")


def open_vectors_of(experiment: Experiment, trained: Vectors | None = None) -> Vectors | None:
    """Open the pretrained word vectors of the spec, None without any; those of the section `words` are `trained`.

    Raises UserError if they are missing or of another dimension.
    """
    embedding = experiment.model.embedding
    if embedding.vectors is None:
        return None
    if embedding.vectors == WORD2VEC and trained is None:
        raise UserError(
            f"model.embedding.vectors {WORD2VEC}: this command does not train word vectors: give the path of some"
        )
    vectors = open_vectors(embedding.vectors) if trained is None else trained
    check_width(vectors, embedding.dim)
    return vectors


def starting_values(
    experiment: Experiment, prepared: Prepared, given: Vectors | StartRun | None, progress: Progress = no_progress
) -> tuple[dict[str, np.ndarray], dict]:
    """Draw the parameters, insert the `given` values, and return the parameters and the record entry.

    Those of a `StartRun` are its word vectors and its encoder.
    """
    training = experiment.training
    parameters = initial_parameters(experiment.model, training.seed, training.array_dtype)
    if given is None:
        return parameters, {}
    if isinstance(given, StartRun):
        return parameters, {"start": take_values(parameters, given, prepared.vocabulary)}
    found = look_up(given, prepared.vocabulary, experiment.text.lowercase, progress)
    insert_vectors(parameters, experiment.model.embedding, found)
    record = {"found": len(found.ids), "missing": len(found.missing), "fingerprint": found.fingerprint}
    training = {"word2vec": given.training} if given.training else {}
    return parameters, {"vectors": {"source": given.name, **record}, **training}


def insert_vectors(parameters: dict[str, np.ndarray], embedding: Embedding, found: Lookup) -> None:
    """Write pretrained vectors into the embedding table, and its static copy, in place.

    `vectors_missing` determines the other rows; that of PAD stays zero.
    """
    table = parameters[TABLE]
    values = found.values.astype(table.dtype) * embedding.vectors_scale
    if embedding.vectors_missing != "init":
        table[PAD + 1 :] = 0.0 if embedding.vectors_missing == "zero" else values.mean(axis=0, dtype=np.float64)
    table[found.ids] = values
    if embedding.static_copy:
        parameters[STATIC_TABLE][:] = table
