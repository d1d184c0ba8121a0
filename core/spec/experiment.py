"""The specification of an experiment: all hyperparameters, as frozen JSON models.

A specification suffices to reproduce the experiment in another framework. It excludes the execution (backend, device,
implementation), which the run folder records separately.

`encoder` and `head` have a `kind`: new model families (such as a head per token) are added as unions discriminated by
that field.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError, model_validator

from core.checked_json import check_digest
from core.errors import UserError
from core.models.heads import MultilabelHead
from core.models.model import Model
from core.schema import Spec
from core.spec.class_weights import balanced_weights
from core.spec.data import TEXTS, AnyData, MovieReviews, Table
from core.spec.messages import LARGEST as LARGEST
from core.spec.messages import describe as describe
from core.spec.text import Text
from core.spec.training import Training
from core.spec.word_runs import WORDS_KIND, WORDS_ONLY
from core.spec.words import WORD2VEC, WordStart


def with_class_weights(experiment: Experiment, labels: np.ndarray) -> Experiment:
    """Return the experiment with `balanced` replaced by class weights of train labels [N]."""
    if experiment.training.class_weights != "balanced":
        return experiment
    weights = balanced_weights(labels, experiment.model.head.classes)
    training = experiment.training.model_copy(update={"class_weights": weights})
    return experiment.model_copy(update={"training": training})


FORMAT_VERSION = 8
"""Version of the spec and run-folder formats. A reader rejects newer versions."""


ADDED: dict[int, tuple[str, ...]] = {
    4: (
        "model.embedding.bigram_dim",
        "model.embedding.bigrams",
        "model.embedding.vectors_missing",
        "model.embedding.vectors_scale",
        "model.encoder.residual",
        "training.eval_start",
        "training.watch_gradients",
        "model.encoder.padding",
        "text.half_width",
        "training.word_dropout",
        "words",
    ),
    5: (
        "model.ngrams",
        "training.adversarial",
        "training.average_interval",
        "training.average_share",
    ),
    6: (
        "start",
        "training.frozen_steps",
        "training.rate_factors",
        "training.virtual_adversarial",
        "training.virtual_probe",
        "training.virtual_weight",
    ),
    7: ("data.unlabeled_file", "training.unlabeled_batch_size"),
    8: ("data.fold", "data.folds", "data.label_separator", "data.multi_label"),
}
"""Fields that a record of an older format lacks, by the format that added them.

Their defaults are what the older version did.
"""


class Experiment(Spec):
    """A complete experiment. `recipe` only names the hyperparameter preset it is based on."""

    format: int = FORMAT_VERSION
    task: str = "imdb"
    recipe: str = "default"
    model: Model = Model()
    text: Text = Text()
    training: Training = Training()
    data: AnyData = MovieReviews()
    words: WordStart | None = None
    """How the vectors of `model.embedding.vectors` word2vec are trained; None for other vectors."""
    start: str | None = Field(default=None, min_length=1)
    """Folder of a run whose best checkpoint gives the initial embedding and encoder; None: all values are drawn.

    Word vectors are matched by word (`core/train/start_run.py`).
    """

    @model_validator(mode="after")
    def _start_gives_the_vectors(self):
        if self.start is not None and self.model.embedding.vectors is not None:
            raise ValueError("start and model.embedding.vectors both give word vectors: set one of them null")
        if self.start is not None and (self.model.embedding.lookup == "scalar" or self.model.is_linear):
            raise ValueError("start needs a model with word vectors and a network: set it null")
        return self

    @model_validator(mode="after")
    def _vectors_are_of_words(self):
        if self.model.embedding.vectors is not None and self.data.kind not in TEXTS:
            raise ValueError("model.embedding.vectors needs text data: remove it for this task")
        return self

    @model_validator(mode="after")
    def _ngrams_are_of_texts(self):
        if self.model.ngrams is not None and self.data.kind not in TEXTS:
            raise ValueError(f"model.ngrams needs labeled texts, got data.kind {self.data.kind}: set it null")
        return self

    @model_validator(mode="after")
    def _trained_vectors_have_a_section(self):
        embedding, words = self.model.embedding, self.words
        if (embedding.vectors == WORD2VEC) != (words is not None):
            raise ValueError(
                f"model.embedding.vectors {WORD2VEC} and the section words need each other: set both, or none of them"
            )
        if words is not None and words.model.dim != embedding.dim:
            raise ValueError(
                f"words.model.dim is {words.model.dim}, but model.embedding.dim is {embedding.dim}: set equal ones"
            )
        return self

    @model_validator(mode="after")
    def _virtual_perturbations_are_of_classifiers(self):
        if self.training.virtual_adversarial and self.model.head.kind != "pooled":
            raise ValueError(
                f"training.virtual_adversarial needs model.head.kind pooled, got {self.model.head.kind}: set it 0"
            )
        return self

    @model_validator(mode="after")
    def _unlabeled_texts_have_a_loss(self):
        data, training = self.data, self.training
        own = data.unlabeled_file if isinstance(data, Table) else None
        if not training.unlabeled_batch_size:
            if own is not None:
                raise ValueError(f"`data.unlabeled_file` {own} needs `training.unlabeled_batch_size` above 0: set it")
            return self
        if not training.virtual_adversarial:
            raise ValueError("`training.unlabeled_batch_size` needs `training.virtual_adversarial` above 0: set it")
        if not isinstance(data, MovieReviews | Table):
            raise ValueError(f"`training.unlabeled_batch_size` is not supported by data.kind {data.kind}: set it 0")
        return self

    @model_validator(mode="after")
    def _scalars_are_digits(self):
        if self.model.embedding.lookup != "scalar":
            return self
        if self.data.kind != "digits":
            raise ValueError(f"model.embedding.lookup scalar needs data.kind digits, got {self.data.kind}: use index")
        if self.training.word_dropout:
            raise ValueError("model.embedding.lookup scalar has no value for UNK: set training.word_dropout 0")
        return self

    @model_validator(mode="after")
    def _tokens_of_tagged_data(self):
        if self.data.kind == "tagged":
            allowed = ("letters",) if self.data.labels == "boundaries" else ("whitespace", "letters")
            if self.text.tokenizer not in allowed:
                raise ValueError(
                    f"text.tokenizer {self.text.tokenizer} does not give the tokens of data.labels {self.data.labels}:"
                    f" set text.tokenizer {' or '.join(allowed)}"
                )
        return self

    @model_validator(mode="after")
    def _a_weight_for_each_class(self):
        weights, classes = self.training.class_weights, self.model.head.classes
        if weights is not None and getattr(self.model.head, "crf", False):
            raise ValueError("`training.class_weights` is not supported with `model.head.crf`: remove one of them")
        if weights is not None and (not classes or isinstance(self.model.head, MultilabelHead)):
            raise ValueError(f"training.class_weights is not supported by head.kind {self.model.head.kind}: remove it")
        if isinstance(weights, tuple) and self.known_classes is not None and len(weights) != classes:
            raise ValueError(
                f"training.class_weights has {len(weights)} numbers, but model.head.classes is {classes}:"
                f" give one per class"
            )
        return self

    def with_vocab_size(self, size: int) -> Experiment:
        """Return the experiment with `model.embedding.vocab_size` set to the actual vocabulary size."""
        return replace(self, {"model.embedding.vocab_size": size})

    def stored(self, run: Path) -> Experiment:
        """Return the experiment for the record of a run (`Table.stored`)."""
        return self.model_copy(update={"data": self.data.stored(run)}) if isinstance(self.data, Table) else self

    def located(self, run: Path) -> Experiment:
        """Return the experiment in the record of a run with the path of the run's own texts."""
        return self.model_copy(update={"data": self.data.located(run)}) if isinstance(self.data, Table) else self

    @property
    def known_classes(self) -> int | None:
        """Required number of classes; None if the data determines `head.classes`."""
        return None if self.data.kind in ("table", "tagged") else self.model.head.classes


def replace(experiment: Experiment, changes: Mapping[str, object], where: str = "experiment") -> Experiment:
    """Return a validated copy with values set by path, as `{"model.encoder.cell": "gru"}`.

    Raises UserError naming `where`, the field and its constraint.
    """
    tree = experiment.model_dump(mode="json")
    for path, value in changes.items():
        *parents, leaf = path.split(".")
        node = tree
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if not isinstance(node, dict) or leaf not in node:
            known = ", ".join(node) if isinstance(node, dict) else "none"
            raise UserError(f"{where}: no field {path} in the spec: choose one of its section (fields: {known})")
        node[leaf] = copy.deepcopy(value)  # later changes must not reach into the given section
    return parse_experiment(tree, where)


def parse_experiment(tree: object, where: str) -> Experiment:
    """Validate a decoded JSON tree.

    Raises UserError naming `where`, the first invalid field and its constraint.
    """
    _check_integers(tree, where)
    if not isinstance(tree, dict):
        raise UserError(
            f"{where}: got {type(tree).__name__}, expected an experiment as a JSON object: give such a file"
        )
    version = tree.get("format", FORMAT_VERSION)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise UserError(
            f"{where}: got format {version!r}, this version of seqtwin reads up to {FORMAT_VERSION}: update seqtwin"
        )
    try:
        return Experiment.model_validate(upgrade(tree, version))
    except ValidationError as error:
        raise UserError(f"{where}: {describe(error)}") from None


def upgrade(tree: Mapping[str, object], version: int) -> dict[str, object]:
    """Return a spec of format `version` as one of the current format, with the same tokens."""
    upgraded = {**tree, "format": FORMAT_VERSION}
    text = tree.get("text", {})
    if version < 3 and isinstance(text, dict):  # the `words` tokenizer of format 2 dropped all signs but ! and ?
        upgraded["text"] = {"signs": False, **text}
    return upgraded


def _check_integers(tree: object, where: str) -> None:
    """Raise UserError for an integer that no field needs and that arrays and files cannot hold."""
    nodes: list[tuple[str, object]] = [("", tree)]
    while nodes:
        path, node = nodes.pop()
        if isinstance(node, dict):
            nodes += [(f"{path}.{name}" if path else str(name), own) for name, own in node.items()]
        elif isinstance(node, list | tuple):
            nodes += [(path, own) for own in node]
        elif isinstance(node, int) and abs(node) > LARGEST:
            digits = int(abs(node).bit_length() * math.log10(2)) + 1
            raise UserError(f"{where}: {path}: got an integer of about {digits:,} digits, expected at most 2^63")


def read_experiment(path: str | Path) -> Experiment:
    """Read an experiment from JSON: a spec, or `experiment.json` of a run folder.

    Raises UserError if the file is missing, not JSON, not an experiment, or a record that changed since it was written.
    """
    path = Path(path)
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): check the path") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}: convert the file") from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}: not JSON (line {error.lineno}, column {error.colno}: {error.msg}): correct the file"
        ) from None
    except (ValueError, RecursionError):
        raise UserError(f"{path}: got thousands of digits or nested sections, expected a spec: correct it") from None
    if isinstance(tree, dict) and "experiment" in tree:
        if tree.get("kind") == WORDS_KIND:
            raise UserError(f"{path}: {WORDS_ONLY}")
        check_digest(tree, path)
        return parse_experiment(tree["experiment"], str(path)).located(path.parent)
    return parse_experiment(tree, str(path))
