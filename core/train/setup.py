"""Preparing a run: its data, the numbers that only the data tell, and the values that it starts from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.data.corpus import load_corpus, prepare
from core.data.dataset import Prepared
from core.data.download import Progress, no_progress
from core.data.pretrained_vectors import PACKAGES, Vectors, check_width, look_up, open_vectors
from core.data.sources import digit_sums
from core.data.tokenizers import segmenter
from core.errors import UserError
from core.files import user_path
from core.models.model import initial_parameters
from core.spec.data import TEXTS
from core.spec.experiment import Experiment, replace, with_class_weights


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
    experiment: Experiment, prepared: Prepared, vectors: Vectors | None, progress: Progress = no_progress
) -> tuple[dict[str, np.ndarray], dict]:
    """Parameters as the spec draws them, the rows of words that `vectors` know replaced; and what the record says."""
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
    """The data of an experiment, tokenised, split and encoded; and what the run's record says of them.

    `wanted` is the fingerprint that they must have, and what to say of them where they have another.
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
