"""Infer settings from the size of a user's data."""

from __future__ import annotations

import argparse
import math

from core.spec.experiment import Experiment
from tasks.cli.console import fact

STEPS = 1200
"""Target number of training steps: at least one epoch is trained, and at most `MAX_EPOCHS`."""
MAX_EPOCHS = 40


def is_set(arguments: argparse.Namespace, field: str) -> bool:
    """Return whether `--set` sets this field."""
    return any(assignment.partition("=")[0] == field for assignment in arguments.set)


def infer_epochs(
    experiment: Experiment, arguments: argparse.Namespace, count: int, what: str = "rows"
) -> dict[str, object]:
    """Return the change of `training.epochs` for data of `count` texts, and print it; none if the user gave epochs."""
    if arguments.epochs is not None or is_set(arguments, "training.epochs"):
        return {}
    data = experiment.data
    held_out = sum(getattr(data, f"{split}_share") for split in ("dev", "test") if getattr(data, split, None) is None)
    texts = min(count * (1 - held_out), getattr(data, "train_limit", None) or math.inf)
    epochs = min(math.ceil(STEPS * experiment.training.batch_size / max(texts, 1)), MAX_EPOCHS)
    fact("inferred", f"--epochs {epochs} ({count:,} {what})")
    return {"training.epochs": epochs}
