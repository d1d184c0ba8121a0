"""Infer settings from the size of a user's data."""

from __future__ import annotations

import argparse
import math

from core.spec.data import AnyData
from core.spec.experiment import Experiment, replace
from tasks.cli.console import fact

STEPS = 1200
"""Target number of training steps: at least one epoch is trained, and at most `MAX_EPOCHS`."""
NGRAM_STEPS = 300
"""The same plus a linear model of n-grams, which is fitted before."""
MAX_EPOCHS = 40
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
    """Return the change of `training.epochs` for data of `count` texts, and print it; none if the user gave epochs."""
    if arguments.epochs is not None or is_set(arguments, "training.epochs") or experiment.model.is_linear:
        return {}
    steps = STEPS if experiment.model.ngrams is None else NGRAM_STEPS
    texts = training_texts(experiment.data, count)
    epochs = min(math.ceil(steps * experiment.training.batch_size / max(texts, 1)), MAX_EPOCHS)
    fact("inferred", f"--epochs {epochs} ({count:,} {what})")
    return {"training.epochs": epochs}


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
