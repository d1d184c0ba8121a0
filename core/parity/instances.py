"""Random, well-conditioned models and batches for parity checks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from core.batch import Batch, NgramBatch, pad, real_mask
from core.data.unlabeled_texts import NONE
from core.models import model
from core.models.heads.attention import KEY
from core.models.model import Model, forward, parameter_table
from core.models.ngrams import columns_of
from core.models.precision import nearest_jump, round_bfloat16, rounding_of
from core.models.types import Arrays, no_dropout
from core.parity import derivatives
from core.parity.copies import COPIED, Copies, number_of_copies
from core.rng import generator
from core.spec.experiment import Experiment

KINK = 1e-6
"""Distance from a kink below which float32 may take either side."""

LEAST_SHARE = 0.01
"""Minimum share of a gradient's terms, by text, that remains after cancellation.

A head's bias gradient with a share of 1/1000 had an error of 4e-5 in float32, in both frameworks: twice the limit.
"""

MOST_ROUNDING = 3e-6
"""Maximum relative error of a slope that the reference computes in float32.

It is a seventh of the limit of gradients. Above, terms cancel within the model: with small keys tanh is nearly linear,
so a token adds nearly the same to all scores of its attention, which a softmax ignores.
"""

LEAST_CHANGE = 1e-3
"""Minimum sqrt(2 KL), the change of a text's probabilities, at the random direction of a virtual perturbation.

The perturbation has the direction of this change, of which float32 computes the last 6e-8 wrong. Among 80 models of 5
texts, gradients differed by up to 1.7e-5 where a text changed by 7e-5, and by 4.3e-6 where all changed by this much.
"""

DRAWS = 50


def random_parameters(experiment: Experiment, rng: np.random.Generator) -> Arrays:
    """Draw random parameters, including biases; row 0 (PAD) of embedding tables is zero.

    Values are so small that few units saturate: for h = 0.9999, float32 leaves three digits of 1 - h^2, in any
    framework, and max pooling selects just these units. The keys of attention are larger (`MOST_ROUNDING`).
    """
    arrays = {}
    for row in parameter_table(experiment.model):
        adds_up = not row.is_bias and not row.looked_up
        spread = min(0.35, math.prod(row.shape[1:]) ** -0.5) if adds_up else 0.35
        if row.name == KEY:
            spread = 4.0
        arrays[row.name] = rng.normal(0.0, spread, row.shape).astype(experiment.training.array_dtype)
        if row.looked_up:
            arrays[row.name][0] = 0.0
    return arrays


def random_batch(experiment: Experiment, rng: np.random.Generator, rows: int = 5, longest: int = 7) -> Batch:
    """Draw a batch of random ids, with lengths 1 to `longest` (both included); `rows` >= 2."""
    lengths = rng.permutation([1, longest, *rng.integers(2, longest, rows - 2)])
    ids = [rng.integers(1, experiment.model.embedding.vocab_size, length) for length in lengths]
    batch = pad(ids, partly_labeled(experiment, experiment.model.head.random_targets(rng, lengths)))
    return (
        batch
        if experiment.model.ngrams is None
        else replace(batch, ngrams=_random_ngrams(experiment.model, rng, batch))
    )


def partly_labeled(experiment: Experiment, targets: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return targets of a batch in which every other text has no label, if the spec has such texts."""
    if not experiment.training.unlabeled_batch_size:
        return targets
    labels = targets["label"]
    return {**targets, "label": np.where(np.arange(len(labels)) % 2, NONE, labels)}


def _random_ngrams(own: Model, rng: np.random.Generator, batch: Batch) -> NgramBatch:
    """Draw the n-grams of a batch."""
    assert own.ngrams is not None
    classes, shape = own.head.classes, batch.ids.shape
    logits = rng.normal(0.0, 1.0, (len(batch.lengths), columns_of(classes))).astype(np.float32)
    values = rng.normal(0.0, 0.5, (*shape, own.ngrams.input_size(classes))).astype(np.float32)
    return NgramBatch(logits, values * real_mask(batch)[:, :, None])


def well_conditioned(
    experiment: Experiment, draw: Callable[[], tuple[Arrays, Batch]], draws: int = DRAWS
) -> tuple[Arrays, Batch]:
    """Return a random instance, `draw()`, on which equivalent sides agree to rounding error.

    Draws at most `draws` times, while a kink is within rounding error, the direction of a virtual perturbation depends
    on rounding errors, or the gradient of a parameter is zero or cancels: a ReLU layer that is dead on every text tests
    nothing, and a nearly zero sum of large terms is mostly rounding error. Returns the best draw if none is good, as
    given weights may allow none.
    """
    best, best_quality = None, (0.0, 0.0)
    for _ in range(draws):
        instance = draw()
        distance = min(margin(experiment, *instance), KINK)
        fine = distance == KINK and probe_change(experiment, *instance) >= LEAST_CHANGE
        share = uncancelled_share(experiment, *instance) if fine else 0.0
        if share >= LEAST_SHARE and rounding_share(experiment, *instance) <= MOST_ROUNDING:
            return instance
        # The comparison is false for NaN, which given weights may yield.
        if best is None or (distance, share) > best_quality:
            best, best_quality = instance, (distance, share)
    assert best is not None
    return best


def probe_change(experiment: Experiment, parameters: Arrays, batch: Batch) -> float:
    """Return the smallest change sqrt(2 KL) of a text at the random direction of its virtual perturbation in step 0.

    It is infinite in float64, and without such a perturbation.
    """
    training = experiment.training
    if not training.virtual_adversarial or training.array_dtype == "float64":
        return np.inf
    exact = {name: array.astype(np.float64) for name, array in parameters.items()}
    found = derivatives.probe_divergences(experiment, exact, batch, 0)
    return float(np.sqrt(2.0 * np.maximum(found, 0.0)).min())


def uncancelled_share(experiment: Experiment, parameters: Arrays, batch: Batch) -> float:
    """Return the smallest |sum of slopes| / sum of |slopes| over all trainable parameters.

    The result is between 0 and 1. The slopes are those of the losses [B] of step 0, along one random direction per
    parameter. The share is 0 if a parameter has a zero gradient.
    """
    smallest = 1.0
    for slopes in _slopes(experiment, parameters, batch, np.complex128).values():
        total = float(np.abs(slopes).sum())
        smallest = min(smallest, abs(float(slopes.sum())) / total if total > 0.0 else 0.0)
    return smallest


def rounding_share(experiment: Experiment, parameters: Arrays, batch: Batch) -> float:
    """Return the largest relative error of a slope of `uncancelled_share` in float32.

    It is 0 in other dtypes, and without attention, where no such sum cancels.
    """
    if experiment.training.dtype != "float32" or KEY not in parameters:
        return 0.0
    exact = _slopes(experiment, parameters, batch, np.complex128)
    rounded = _slopes(experiment, parameters, batch, np.complex64)
    return max(abs(float(rounded[name].sum() / slopes.sum()) - 1.0) for name, slopes in exact.items())


STEPS = {np.complex128: derivatives.TINY, np.complex64: 1e-20}
"""Complex steps by dtype; float32 holds no smaller ones."""


def _slopes(experiment: Experiment, parameters: Arrays, batch: Batch, dtype: type) -> Arrays:
    """Return the slopes of the losses of step 0 along a random direction of every trainable parameter."""
    step, found = STEPS[dtype], {}
    rows = [row for row in parameter_table(experiment.model) if row.trainable]
    wanted = max(1, min(len(rows), COPIED // sum(array.size for array in parameters.values())))
    while len(found) < len(rows):
        size = number_of_copies(min(wanted, len(rows) - len(found)), derivatives.training_batch(experiment, batch, 0))
        moved = rows[len(found) : len(found) + size]
        values: dict[str, Any] = {name: array.astype(dtype) for name, array in parameters.items()}
        for copy, row in enumerate(moved):
            array = np.repeat(values[row.name][None], size, axis=0)
            array[copy] += 1j * step * generator(0, "direction", row.name).normal(size=row.shape)
            values[row.name] = Copies(array, size * len(batch.lengths))
        losses = np.imag(derivatives.training_losses(experiment, values, batch, 0)).astype(np.float64)
        found |= dict(
            zip([row.name for row in moved], losses.reshape(size, len(batch.lengths), -1) / step, strict=True)
        )
    return found


def jumps_are_near(experiment: Experiment, parameters: Arrays, batch: Batch) -> bool:
    """Return whether bfloat16 rounding is ambiguous, with or without the dropout of step 0."""
    return nearest_of_all_jumps(experiment, parameters, batch) < KINK


def nearest_of_all_jumps(experiment: Experiment, parameters: Arrays, batch: Batch) -> float:
    """Return the smallest distance of an input of matrix products from a bfloat16 rounding jump."""
    if experiment.training.dtype != "bfloat16":
        return np.inf
    exact = {name: array.astype(np.float64) for name, array in parameters.items()}
    found: list[float] = []

    def noting(x: np.ndarray) -> np.ndarray:
        found.append(nearest_jump(x, KINK))
        return round_bfloat16(x)

    forward(experiment.model, exact, batch, no_dropout, noting)
    training = derivatives.training_batch(experiment, batch, 0)
    forward(experiment.model, exact, training, derivatives.shared_dropout(experiment, 0), noting)
    return min(found)


def margin(experiment: Experiment, parameters: Arrays, batch: Batch) -> float:
    """Return the distance of the model in step 0 from a kink or a bfloat16 rounding jump.

    Kinks: `core.models.model.margin`.
    """
    exact = {name: array.astype(np.float64) for name, array in parameters.items()}
    dropping, rounded = derivatives.shared_dropout(experiment, 0), rounding_of(experiment.training.dtype)
    read = derivatives.training_batch(experiment, batch, 0)
    kinks = model.margin(experiment.model, exact, read, dropping, rounded)
    return min(kinks, nearest_of_all_jumps(experiment, parameters, batch))
