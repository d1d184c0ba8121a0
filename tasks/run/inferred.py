"""Infer settings from the size of a user's data."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

from core.spec.data import AnyData
from core.spec.experiment import Experiment, replace
from tasks.cli.console import fact


@dataclass(frozen=True)
class Limits:
    """How long a model trains if the user does not say so: at least one epoch."""

    steps: int
    """Target number of training steps."""
    epochs: int
    """Maximum number of epochs."""
    patience: int | None = None
    """Early-stopping patience in epochs, where there are more epochs than that."""


NETWORK = Limits(600, 20, 5)
"""A classifier of texts. Measured on 300 to 10,000 texts: docs/own-texts.md."""
WITH_NGRAMS = Limits(300, 6, 3)
"""The same with a linear model of n-grams, which is fitted before."""
OTHER = Limits(1200, 40)
"""A tagger or an encoder-decoder."""
STOPPING = ("patience", "eval_interval", "eval_epochs")
"""Fields of training that decide when early stopping ends it."""
CHARACTERS = 3
"""Largest n of the n-grams of characters for texts that jieba divides into words.

On the Chinese reviews n-grams of words and characters together predict more left-out training texts than either.
"""


def is_set(arguments: argparse.Namespace, field: str) -> bool:
    """Return whether `--set` sets this field."""
    return any(assignment.partition("=")[0] == field for assignment in arguments.set)


def infer_epochs(
    experiment: Experiment, arguments: argparse.Namespace, count: int, what: str = "rows"
) -> dict[str, object]:
    """Return the changes of `training` for data of `count` texts, and print them; none if the user gave epochs.

    Epochs of a classifier come with early stopping, unless the user sets its patience or the evaluations it counts.
    """
    if arguments.epochs is not None or is_set(arguments, "training.epochs") or experiment.model.is_linear:
        return {}
    limits = limits_of(experiment)
    texts = training_texts(experiment.data, count)
    epochs = min(math.ceil(limits.steps * experiment.training.batch_size / max(texts, 1)), limits.epochs)
    changes: dict[str, object] = {"training.epochs": epochs}
    told = f"--epochs {epochs}"
    given = [name for name in ("patience", "eval_interval") if getattr(arguments, name, None) is not None]
    given += [name for name in STOPPING if is_set(arguments, f"training.{name}")]
    if limits.patience is not None and epochs > limits.patience and not given:
        changes["training.patience"] = limits.patience
        told += f" --patience {limits.patience}"
    fact("inferred", f"{told} ({count:,} {what})")
    return changes


def limits_of(experiment: Experiment) -> Limits:
    """Return how long a model of this spec trains."""
    if experiment.model.head.kind not in ("pooled", "multilabel"):
        return OTHER
    return NETWORK if experiment.model.ngrams is None else WITH_NGRAMS


def training_texts(data: AnyData, count: int) -> float:
    """Return about how many of `count` texts train: those that are not held out."""
    dev, test = (getattr(data, f"{split}_share") * (getattr(data, split, None) is None) for split in ("dev", "test"))
    if folds := getattr(data, "folds", None):
        return count * (1 - 1 / folds) * (1 - dev)
    return min(count * (1 - dev - test), getattr(data, "train_limit", None) or math.inf)


def infer_ngrams(experiment: Experiment, arguments: argparse.Namespace) -> Experiment:
    """Return the experiment with n-grams of characters, too, for a script without spaces, unless the user gave them."""
    ngrams, field = experiment.model.ngrams, "model.ngrams.characters"
    if ngrams is None or ngrams.characters or experiment.text.tokenizer != "jieba":
        return experiment
    if arguments.ngram_characters is not None or is_set(arguments, field) or is_set(arguments, "model.ngrams"):
        return experiment
    fact("inferred", f"--ngram-characters {CHARACTERS} (a script without spaces between words)")
    return replace(experiment, {field: CHARACTERS})
