"""Random models and batches to compare sides on, away from kinks that two sides may rightly fall on either side of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from core.batch import Batch, pad
from core.models.model import forward, parameter_table
from core.models.precision import nearest_jump, round_bfloat16, rounding_of
from core.models.types import Arrays, no_dropout
from core.parity import derivatives
from core.spec.experiment import Experiment

KINK = 1e-6
"""Nearer than this to a kink, float32 may fall on either side of it."""


# Random instances.


def random_parameters(experiment: Experiment, rng: np.random.Generator) -> Arrays:
    """Every array unequal everywhere, biases too; row 0 of the embedding is zero, as core keeps it.

    Small enough that few units saturate: where h is 0.9999, float32 leaves 1 - h^2 three digits, in any framework, and
    max pooling picks just these.
    """
    arrays = {}
    for row in parameter_table(experiment.model):
        adds_up = not row.is_bias and row.name != "embedding.weight"
        spread = min(0.35, row.shape[1] ** -0.5) if adds_up else 0.35
        arrays[row.name] = rng.normal(0.0, spread, row.shape).astype(experiment.training.array_dtype)
    arrays["embedding.weight"][0] = 0.0
    return arrays


def random_batch(experiment: Experiment, rng: np.random.Generator, rows: int = 5, longest: int = 7) -> Batch:
    """Random ids of unequal lengths, 1 and `longest` among them, in random order; `rows` >= 2."""
    lengths = rng.permutation([1, longest, *rng.integers(2, longest, rows - 2)])
    ids = [rng.integers(1, experiment.model.embedding.vocab_size, length) for length in lengths]
    return pad(ids, rng.integers(0, experiment.model.head.classes, rows))


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
    """How far the model is from a kink on this batch: the smallest lead of a maximum that pooling takes, or distance of
    a rectified unit from zero, or of a number from a jump of bfloat16. Nearer than rounding, two frameworks may rightly
    stand on different sides of it."""
    model, smallest = experiment.model, nearest_of_all_jumps(experiment, parameters, batch)
    rectified = model.head.hidden_size is not None and model.head.activation == "relu"
    if model.head.pooling != "max" and not rectified:
        return smallest
    exact = {name: array.astype(np.float64) for name, array in parameters.items()}
    dropping, rounded = derivatives.shared_dropout(experiment, 0), rounding_of(experiment.training.dtype)
    outputs = forward(model, exact, batch, dropping, rounded)
    if model.head.pooling == "max":
        last = outputs[f"encoder.l{model.encoder.num_layers - 1}"]
        for row, length in enumerate(batch.lengths):
            if length > 1:
                top = np.sort(last[row, :length], axis=0)
                smallest = min(smallest, float((top[-1] - top[-2]).min()))
    if rectified:
        features = rounded(dropping(outputs["pooled"], "head.pooled", model.head.dropout))
        units = features @ rounded(exact["head.hidden.weight"]).T + exact["head.hidden.bias"]
        smallest = min(smallest, float(np.abs(units).min()))
    return smallest
