"""Random models and batches to compare sides on, away from kinks that two sides may rightly fall on either side of."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from core.batch import Batch, pad
from core.models import model
from core.models.model import forward, parameter_table
from core.models.precision import nearest_jump, round_bfloat16, rounding_of
from core.models.types import Arrays, no_dropout
from core.parity import derivatives
from core.spec.experiment import Experiment

KINK = 1e-6
"""Nearer than this to a kink, float32 may fall on either side of it."""


def random_parameters(experiment: Experiment, rng: np.random.Generator) -> Arrays:
    """Every array unequal everywhere, biases too; row 0 of word vectors is zero, as core keeps it.

    Small enough that few units saturate: where h is 0.9999, float32 leaves 1 - h^2 three digits, in any framework, and
    max pooling picks just these.
    """
    arrays = {}
    for row in parameter_table(experiment.model):
        adds_up = not row.is_bias and not row.looked_up
        spread = min(0.35, math.prod(row.shape[1:]) ** -0.5) if adds_up else 0.35
        arrays[row.name] = rng.normal(0.0, spread, row.shape).astype(experiment.training.array_dtype)
        if row.looked_up:
            arrays[row.name][0] = 0.0
    return arrays


def random_batch(experiment: Experiment, rng: np.random.Generator, rows: int = 5, longest: int = 7) -> Batch:
    """Random ids of unequal lengths, 1 and `longest` among them, in random order; `rows` >= 2."""
    lengths = rng.permutation([1, longest, *rng.integers(2, longest, rows - 2)])
    ids = [rng.integers(1, experiment.model.embedding.vocab_size, length) for length in lengths]
    return pad(ids, {"label": rng.integers(0, experiment.model.head.classes, rows)})


def away_from_kinks(experiment: Experiment, draw: Callable[[], tuple[Arrays, Batch]]) -> tuple[Arrays, Batch]:
    """A random instance, `draw()`, drawn again while a kink is nearer than rounding; at most 50 times."""
    drawn = [draw()]
    while margin(experiment, *drawn[-1]) < KINK and len(drawn) < 50:
        drawn.append(draw())
    return max(drawn, key=lambda instance: margin(experiment, *instance)) if len(drawn) == 50 else drawn[-1]


def jumps_are_near(experiment: Experiment, parameters: Arrays, batch: Batch) -> bool:
    """Whether rounding to bfloat16 may fall on either side, with or without the dropout of step 0."""
    return nearest_of_all_jumps(experiment, parameters, batch) < KINK


def nearest_of_all_jumps(experiment: Experiment, parameters: Arrays, batch: Batch) -> float:
    """How far the nearest of all numbers that matrix products read is from a jump of the rounding to bfloat16."""
    if experiment.training.dtype != "bfloat16":
        return np.inf
    exact = {name: array.astype(np.float64) for name, array in parameters.items()}
    found: list[float] = []

    def noting(x: np.ndarray) -> np.ndarray:
        found.append(nearest_jump(x, KINK))
        return round_bfloat16(x)

    for dropout in (no_dropout, derivatives.shared_dropout(experiment, 0)):
        forward(experiment.model, exact, batch, dropout, noting)
    return min(found)


def margin(experiment: Experiment, parameters: Arrays, batch: Batch) -> float:
    """How far the model, in step 0 of training, is from a kink (`core.models.model.margin`) or from a jump of the
    rounding to bfloat16."""
    exact = {name: array.astype(np.float64) for name, array in parameters.items()}
    dropping, rounded = derivatives.shared_dropout(experiment, 0), rounding_of(experiment.training.dtype)
    kinks = model.margin(experiment.model, exact, batch, dropping, rounded)
    return min(kinks, nearest_of_all_jumps(experiment, parameters, batch))
