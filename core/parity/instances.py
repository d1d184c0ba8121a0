"""Random models and batches to compare sides on: well conditioned, so that sides that are the same agree."""

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
from core.rng import generator
from core.spec.experiment import Experiment

KINK = 1e-6
"""Nearer than this to a kink, float32 may fall on either side of it."""

LEAST_SHARE = 0.01
"""Of a gradient's terms, by text, at least this share must be left when they are added. A head's bias of which 1/1000
was left came out 4e-5 wrong in float32, in both frameworks: twice what is allowed."""

DRAWS = 50


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


def well_conditioned(experiment: Experiment, draw: Callable[[], tuple[Arrays, Batch]]) -> tuple[Arrays, Batch]:
    """Return a random instance, `draw()`, on which two sides that compute the same agree to rounding.

    Draws again, at most `DRAWS` times, while a kink is nearer than rounding, or while the gradient of a parameter is
    zero or cancels: a rectified layer that is dead on every text proves nothing, and a sum of large terms that is
    nearly zero is mostly rounding. Returns the best of all draws where none is good: given weights may allow none.
    """
    best, best_quality = None, (False, -1.0)
    for _ in range(DRAWS):
        instance = draw()
        near, share = margin(experiment, *instance), uncancelled_share(experiment, *instance)
        if near >= KINK and share >= LEAST_SHARE:
            return instance
        if (near >= KINK, share) > best_quality:
            best, best_quality = instance, (near >= KINK, share)
    return best


def uncancelled_share(experiment: Experiment, parameters: Arrays, batch: Batch) -> float:
    """Return the smallest |sum of slopes| / sum of |slopes| over the trainable parameters, from 0 to 1.

    The slopes are those of the single losses [B] of step 0, along one random direction per parameter. The share is 0
    where a parameter has no gradient at all.
    """
    values = {name: array.astype(np.complex128) for name, array in parameters.items()}
    smallest = 1.0
    for row in parameter_table(experiment.model):
        if not row.trainable:
            continue
        exact = values[row.name]
        values[row.name] = exact + 1j * derivatives.TINY * generator(0, "direction", row.name).normal(size=row.shape)
        slopes = derivatives.training_losses(experiment, values, batch, 0).imag / derivatives.TINY
        values[row.name] = exact
        whole = float(np.abs(slopes).sum())
        smallest = min(smallest, abs(float(slopes.sum())) / whole if whole > 0.0 else 0.0)
    return smallest


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
