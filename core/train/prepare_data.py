"""The data of a run: read, split and encoded by its spec, and the spec's fields that depend on it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from core.batch import Ragged
from core.data.corpus import load_corpus, prepare
from core.data.dataset import Prepared
from core.data.download import Progress, no_progress
from core.data.language_texts import prepare_texts
from core.data.multilabel import has_label_sets, with_targets
from core.data.pretrained_vectors import PACKAGES
from core.data.segmenters import segmenter
from core.data.sources import digit_sums, pairs
from core.data.sources.tagged import open_tagged
from core.data.tagged_corpus import prepare_tagged, read_corpus
from core.data.unlabeled_texts import read_unlabeled
from core.engine.memory import host_limit
from core.errors import UserError
from core.files import user_path
from core.models.heads.decoder import DecoderHead
from core.models.heads.language import LanguageHead
from core.schema import of_kind
from core.spec.data import GENERATED_PAIRS, TEXTS, MovieReviews, Pairs, PlainTexts, Table
from core.spec.experiment import Experiment, replace, with_class_weights
from core.spec.words import WORD2VEC

HEADS = {"tagged": "tokens", "pairs": "decoder", "texts": "language"}
"""Kinds of the heads for kinds of data; other data is for `pooled`, and labeled texts for `multilabel` too."""


def read_data(
    experiment: Experiment,
    cache: Path,
    wanted: tuple[str, str] | None = None,
    progress: Progress = no_progress,
) -> tuple[Prepared, dict]:
    """Read, tokenize, split and encode the data; return it with its record entry.

    `wanted` is the required fingerprint and the error message for another one.
    """
    expected, kind = HEADS.get(experiment.data.kind, "pooled"), experiment.model.head.kind
    if has_label_sets(experiment.data) and kind != "multilabel":
        raise UserError(f"data.multi_label needs model.head.kind multilabel, got {kind}: set one of them")
    if kind != expected and not (kind == "multilabel" and experiment.data.kind in TEXTS):
        raise UserError(
            f"data.kind {experiment.data.kind} needs model.head.kind {expected}, got {kind}: set one of them"
        )
    if experiment.data.kind == "digits":
        prepared, description = digit_sums.prepare(experiment.data), digit_sums.describe(experiment.data)
        record = {"kind": "digits", "description": description, "fingerprint": description}
        return prepared, {**record, **prepared.summary}
    if experiment.data.kind == "tagged":
        tagged = open_tagged(experiment.data, progress)
        if wanted is not None and tagged.fingerprint != wanted[0]:
            raise UserError(f"{tagged.description}: {wanted[1]}")
        prepared = prepare_tagged(read_corpus(tagged, experiment.text), experiment.data, experiment.text)
        record = {"kind": tagged.kind, "description": tagged.description, "fingerprint": tagged.fingerprint}
        return prepared, {**record, **prepared.summary}
    if isinstance(experiment.data, Pairs):
        head = of_kind(experiment.model.head, DecoderHead)
        prepared, record = pairs.prepare(experiment.data, experiment.text, head.max_output, progress)
        if wanted is not None and record["fingerprint"] != wanted[0]:
            raise UserError(f"{record['description']}: {wanted[1]}")
        return prepared, record
    if isinstance(experiment.data, PlainTexts):
        prepared, record = prepare_texts(experiment.data, experiment.text, cache, progress)
        if wanted is not None and record["fingerprint"] != wanted[0]:
            raise UserError(f"{record['description']}: {wanted[1]}")
        return prepared, record
    corpus, source = load_corpus(experiment.data, experiment.text, cache, progress)
    if wanted is not None and source.fingerprint != wanted[0]:
        # Checked before splitting, which may fail for other data.
        raise UserError(f"{source.description}: {wanted[1]}")
    prepared = prepare(corpus, experiment.data, experiment.text, experiment.known_classes)
    if kind == "multilabel":
        prepared = with_targets(prepared, experiment.data)
    record = {"kind": source.kind, "description": source.description, "fingerprint": source.fingerprint}
    return with_memory_limit(prepared), {**record, **prepared.summary}


def with_unlabeled(
    experiment: Experiment,
    prepared: Prepared,
    cache: Path,
    wanted: tuple[str, str] | None = None,
    progress: Progress = no_progress,
) -> tuple[Prepared, dict]:
    """Return the data of a training run with its texts without a label, and their record entry, empty for none.

    `wanted` is the required fingerprint of the texts and the error message for another one.
    """
    data = experiment.data
    if not experiment.training.unlabeled_batch_size or not isinstance(data, MovieReviews | Table):
        return prepared, {}
    more = read_unlabeled(data, experiment.text, prepared, cache, progress)
    if wanted is not None and more.record["fingerprint"] != wanted[0]:
        raise UserError(f"{more.record['description']}: {wanted[1]}")
    found = dataclasses.replace(prepared, unlabeled=more.dataset, unlabeled_texts=more.texts)
    return found, {"unlabeled": more.record}


def with_memory_limit(prepared: Prepared) -> Prepared:
    """Return the data with complete texts that know how much memory a fit of their n-grams may take."""
    whole, limit = prepared.whole, host_limit()
    if whole is None or limit is None:
        return prepared
    return dataclasses.replace(prepared, whole=lambda part: dataclasses.replace(whole(part), memory=limit.size))


def fitted(experiment: Experiment, prepared: Prepared) -> Experiment:
    """Return the experiment with the vocabulary size, classes and class weights of its data."""
    weights, names = experiment.training.class_weights, prepared.classes
    if isinstance(weights, tuple) and len(weights) != len(names):
        shown = ", ".join(names[:20])
        raise UserError(
            f"training.class_weights has {len(weights)} numbers, but the data has {len(names)} classes ({shown}):"
            f" give one number per class"
        )
    changes: dict[str, object] = {"model.embedding.vocab_size": len(prepared.vocabulary)}
    if prepared.target_vocabulary is not None:
        changes["model.head.vocab_size"] = len(prepared.target_vocabulary)
    if isinstance(experiment.model.head, LanguageHead):
        changes["model.head.num_words"] = len(prepared.vocabulary)
    if experiment.known_classes is None:
        changes["model.head.classes"] = len(prepared.classes)
    expected = prepared.train.targets[experiment.model.head.targets[0]]
    return with_class_weights(
        replace(experiment, changes), expected.values if isinstance(expected, Ragged) else expected
    )


def tokenized_by(experiment: Experiment) -> dict[str, str]:
    """Return the record entry of an external segmentation package, empty for none."""
    package = segmenter(experiment.text) if experiment.data.kind in (*TEXTS, "pairs") else ""
    return {"tokenized_by": package} if package else {}


def absolute_source(experiment: Experiment) -> Experiment:
    """Return the experiment with absolute paths of data, word vectors and the run that it starts from.

    Absolute paths stay valid in every working directory.
    """
    data, vectors = experiment.data, experiment.model.embedding.vectors
    own = {"table": (), "tagged": ("packaged",), "pairs": GENERATED_PAIRS}
    names = own.get(data.kind, ("packaged", "official"))
    paths = {field: getattr(data, field, None) for field in ("source", "dev", "test", "unlabeled_file")}
    changes: dict[str, object] = {
        f"data.{field}": str(user_path(path).absolute())
        for field, path in paths.items()
        if isinstance(path, str) and path not in names
    }
    if experiment.start is not None:
        changes["start"] = str(user_path(experiment.start).absolute())
    if vectors is not None and vectors not in (*PACKAGES, WORD2VEC):
        changes["model.embedding.vectors"] = str(user_path(vectors).absolute())
    return replace(experiment, changes) if changes else experiment
