"""The specification: every choice and every number of an experiment, in frozen models that are JSON in and out.

Reading one, a third person could rebuild the experiment in a framework of their own. What is *not* here is how a run
executes it (backend, device, implementation): the run folder records that beside the spec.

`encoder` and `head` carry a `kind`: they are where other model families (a convolutional encoder, a head per token)
are to be added, as unions discriminated by that field.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from pydantic import ValidationError, model_validator

from core.errors import UserError
from core.models import encoders
from core.models.model import Model
from core.schema import Spec
from core.spec.class_weights import balanced_weights
from core.spec.data import DATA_KINDS, TEXTS, AnyData, MovieReviews
from core.spec.text import Text
from core.spec.training import Training


def with_class_weights(experiment: Experiment, labels: np.ndarray) -> Experiment:
    """The same experiment with numbers in the place of `balanced`, by the labels [N] of the train part."""
    if experiment.training.class_weights != "balanced":
        return experiment
    weights = balanced_weights(labels, experiment.model.head.classes)
    training = experiment.training.model_copy(update={"class_weights": weights})
    return experiment.model_copy(update={"training": training})


FORMAT_VERSION = 2
"""Version of the run-folder and spec format. A reader refuses a newer one."""


class Experiment(Spec):
    """A whole experiment. `recipe` only names where the numbers came from."""

    format: int = FORMAT_VERSION
    task: str = "imdb"
    recipe: str = "default"
    model: Model = Model()
    text: Text = Text()
    training: Training = Training()
    data: AnyData = MovieReviews()

    @model_validator(mode="after")
    def _vectors_are_of_words(self):
        if self.model.embedding.vectors is not None and self.data.kind not in TEXTS:
            raise ValueError("model.embedding.vectors are of words: this task's data have none")
        return self

    @model_validator(mode="after")
    def _a_weight_for_each_class(self):
        weights, classes = self.training.class_weights, self.model.head.classes
        if isinstance(weights, tuple) and self.known_classes is not None and len(weights) != classes:
            raise ValueError(f"training.class_weights are {len(weights)}, and model.head.classes is {classes}")
        return self

    def with_vocab_size(self, size: int) -> Experiment:
        """The same experiment with `model.embedding.vocab_size` set to the size of the vocabulary that was built."""
        return replace(self, {"model.embedding.vocab_size": size})

    @property
    def known_classes(self) -> int | None:
        """How many classes the data must have; None where the data tell (then `head.classes` is set by them)."""
        return None if self.data.kind == "table" else self.model.head.classes


def replace(experiment: Experiment, changes: dict[str, object], where: str = "experiment") -> Experiment:
    """A validated copy with values set by dotted path, as in `{"model.encoder.cell": "gru"}`.

    Raises UserError naming `where`, the field and what it allows.
    """
    tree = experiment.model_dump(mode="json")
    for path, value in changes.items():
        *parents, leaf = path.split(".")
        node = tree
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if not isinstance(node, dict) or leaf not in node:
            known = ", ".join(node) if isinstance(node, dict) else "none below it"
            raise UserError(f"{where}: there is no field {path} in the spec (fields there: {known})")
        node[leaf] = value
    return parse_experiment(tree, where)


def parse_experiment(tree: object, where: str) -> Experiment:
    """Validate a decoded JSON tree. Raises UserError, one line, naming `where`, the first wrong field and the rule."""
    if not isinstance(tree, dict):
        raise UserError(f"{where}: an experiment is a JSON object, not {type(tree).__name__}")
    version = tree.get("format", FORMAT_VERSION)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise UserError(
            f"{where}: written in format {version!r}, and this seqtwin reads up to {FORMAT_VERSION}: update seqtwin"
        )
    try:
        return Experiment.model_validate({**tree, "format": FORMAT_VERSION})
    except ValidationError as error:
        raise UserError(f"{where}: {describe(error)}") from None


KINDS = {
    "data": DATA_KINDS,
    "encoder": tuple(encoders.FAMILIES),
    "optimizer": ("adam", "sgd"),
    "class_weights": ("balanced", "weights"),
}
"""Of parts that come in several kinds."""


def describe(error: ValidationError) -> str:
    """The first problem of a validation error in one line: dotted field, rule, and the value that broke it."""
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"]]
    # pydantic names the chosen kind of a part as well, which no path in the spec has.
    named = [part for before, part in zip(["", *parts], parts, strict=False) if part not in KINDS.get(before, ())]
    field = ".".join(named)
    message = first["msg"].removeprefix("Value error, ")
    value = json.dumps(first["input"], default=str)
    shown = f" (got {value})" if len(value) <= 60 else ""
    return f"{field}: {message}{shown}" if field else f"{message}{shown}"


def read_experiment(path: str | Path) -> Experiment:
    """An experiment from a JSON file: a bare spec, or a run folder's `experiment.json`, which holds it as `experiment`.

    Raises UserError if the file is missing, is not JSON, or does not hold an experiment.
    """
    path = Path(path)
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not JSON (line {error.lineno}, column {error.colno}: {error.msg})") from None
    if isinstance(tree, dict) and "experiment" in tree:
        tree = tree["experiment"]
    return parse_experiment(tree, str(path))
