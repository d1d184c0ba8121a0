"""Preparing a run: its data, the numbers that only the data tell, and the values that it starts or resumes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.data.corpus import load_corpus, prepare
from core.data.dataset import Prepared
from core.data.download import Progress, no_progress
from core.data.pretrained_vectors import PACKAGES, Vectors, check_width, look_up, open_vectors
from core.data.sources import digit_sums
from core.data.tokenizers import segmenter
from core.engine.processes import ProcessGroup, in_turn
from core.errors import UserError
from core.files import user_path
from core.models.model import initial_parameters
from core.spec.data import TEXTS
from core.spec.experiment import Experiment, replace, with_class_weights
from core.train.optimizer_state import check_moments
from core.train.run_folder import RunFolder, TrainingState


@dataclass(frozen=True)
class Checkpoint:
    """Values that training starts or resumes from."""

    parameters: dict[str, np.ndarray]
    moments: dict[str, np.ndarray] = field(default_factory=dict)
    """State of the optimizer, by `KIND/PARAMETER`."""
    state: TrainingState = field(default_factory=TrainingState)


@dataclass(frozen=True)
class Setup:
    """Everything about a run but what computes it."""

    experiment: Experiment
    data: Prepared
    checkpoint: Checkpoint
    execution: dict
    """The execution record so far: of a new run, the classes, the data and the word vectors."""


def prepare_start(
    experiment: Experiment, path: Path, cache: Path, group: ProcessGroup, progress: Progress = no_progress
) -> Setup:
    """Read the data and draw the values of a new run; nothing is written.

    Raises UserError where the run folder `path` cannot be made, or data or word vectors do not fit the spec.
    """
    with in_turn(group):
        if group.rank == 0:
            RunFolder.check_free(path)
        # Vectors that do not fit are refused before the reviews are read.
        vectors = open_vectors_of(experiment)
        data, data_record = read_data(experiment, cache, progress=progress)
    experiment = fitted(experiment, data)
    parameters, vectors_record = starting_values(experiment, data, vectors, progress)
    execution = {"classes": data.classes, **tokenized_by(experiment), "data": data_record, **vectors_record}
    return Setup(experiment, data, Checkpoint(parameters), execution)


def read_checkpoint(folder: RunFolder, experiment: Experiment) -> Checkpoint:
    """Read the last checkpoint of a run.

    Raises UserError where a file that the rest of the run needs is missing, damaged or of another run: now, and not
    after hours of training.
    """
    checkpoint = Checkpoint(*folder.read_last(experiment.model))
    if checkpoint.state.step:
        folder.read_metrics()
        where = str(folder.path / "last.safetensors")
        check_moments(checkpoint.moments, experiment.model, experiment.training.optimizer, where)
    if checkpoint.state.best_step:
        folder.read_best(experiment.model)
    return checkpoint


def prepare_resume(
    folder: RunFolder,
    experiment: Experiment,
    execution: dict,
    checkpoint: Checkpoint,
    cache: Path,
    group: ProcessGroup,
    progress: Progress = no_progress,
) -> Setup:
    """Read the data of a stopped run again. Raises UserError where they, or the vocabulary, are others than then."""
    other = f"not the data that {folder.path} was trained on; a resume needs the same"
    with in_turn(group):
        data, _ = read_data(experiment, cache, (execution["data"]["fingerprint"], other), progress)
        check_vocabulary(folder, experiment, data)
    return Setup(experiment, data, checkpoint, execution)


def check_vocabulary(folder: RunFolder, experiment: Experiment, data: Prepared) -> None:
    """Raises UserError where `vocab.json` is not the vocabulary of the run's data."""
    if data.vocabulary != folder.read_vocabulary(experiment.model):
        raise UserError(f"{folder.path / 'vocab.json'}: not the vocabulary of this run's data: the file was changed")


def absolute_source(experiment: Experiment) -> Experiment:
    """Return the experiment with absolute paths of data and word vectors, which mean the same from every folder."""
    data, vectors = experiment.data, experiment.model.embedding.vectors
    names = () if data.kind == "table" else ("packaged", "official")
    paths = {field: getattr(data, field, None) for field in ("source", "dev", "test")}
    changes: dict[str, object] = {
        f"data.{field}": str(user_path(path).absolute())
        for field, path in paths.items()
        if path is not None and path not in names
    }
    if vectors is not None and vectors not in PACKAGES:
        changes["model.embedding.vectors"] = str(user_path(vectors).absolute())
    return replace(experiment, changes) if changes else experiment


def open_vectors_of(experiment: Experiment) -> Vectors | None:
    """Open the word vectors that the spec starts from. Raises UserError: not there, or not of the spec's width."""
    embedding = experiment.model.embedding
    if embedding.vectors is None:
        return None
    vectors = open_vectors(embedding.vectors)
    check_width(vectors, embedding.dim)
    return vectors


def fitted(experiment: Experiment, prepared: Prepared) -> Experiment:
    """Return the experiment with what only its data tell: size of the vocabulary, classes, their weights."""
    weights, names = experiment.training.class_weights, prepared.classes
    if isinstance(weights, tuple) and len(weights) != len(names):
        shown = ", ".join(names[:20])
        raise UserError(f"training.class_weights are {len(weights)}, and the data have {len(names)} classes: {shown}")
    changes: dict[str, object] = {"model.embedding.vocab_size": len(prepared.vocabulary)}
    if experiment.known_classes is None:
        changes["model.head.classes"] = len(prepared.classes)
    return with_class_weights(replace(experiment, changes), prepared.train.labels)


def tokenized_by(experiment: Experiment) -> dict[str, str]:
    """Return, for the record, the package that segments texts, where it is not this one."""
    package = segmenter(experiment.text) if experiment.data.kind in TEXTS else ""
    return {"tokenized_by": package} if package else {}


def starting_values(
    experiment: Experiment, prepared: Prepared, vectors: Vectors | None, progress: Progress = no_progress
) -> tuple[dict[str, np.ndarray], dict]:
    """Draw the parameters, put `vectors` in the rows of their words, and return both them and what the record says."""
    training = experiment.training
    parameters = initial_parameters(experiment.model, training.seed, training.array_dtype)
    if vectors is None:
        return parameters, {}
    found = look_up(vectors, prepared.vocabulary, experiment.text.lowercase, progress)
    parameters["embedding.weight"][found.ids] = found.values
    record = {"found": len(found.ids), "missing": len(found.missing), "fingerprint": found.fingerprint}
    return parameters, {"vectors": {"source": vectors.name, **record}}


def read_data(
    experiment: Experiment,
    cache: Path,
    wanted: tuple[str, str] | None = None,
    progress: Progress = no_progress,
) -> tuple[Prepared, dict]:
    """Read the data of an experiment, tokenized, split and encoded; and return what the record says of them, too.

    `wanted` is the fingerprint that they must have, and the error where they have another.
    """
    if experiment.data.kind == "digits":
        prepared, description = digit_sums.prepare(experiment.data), digit_sums.describe(experiment.data)
        record = {"kind": "digits", "description": description, "fingerprint": description}
        return prepared, {**record, **prepared.summary}
    corpus, source = load_corpus(experiment.data, experiment.text, cache, progress)
    if wanted is not None and source.fingerprint != wanted[0]:
        # Before they are split, which other data may not bear.
        raise UserError(f"{source.description}: {wanted[1]}")
    prepared = prepare(corpus, experiment.data, experiment.text, experiment.known_classes)
    record = {"kind": source.kind, "description": source.description, "fingerprint": source.fingerprint}
    return prepared, {**record, **prepared.summary}
