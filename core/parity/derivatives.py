"""Exact derivatives of the NumPy reference by the complex step (Squire and Trapp 1998).

Im f(x + i h d) / h is the slope of f along d. It contains no difference of close numbers, so nothing cancels even for h
= 1e-40. The result is exact to rounding and independent of automatic differentiation.
"""

from __future__ import annotations

import numpy as np

from core.batch import Batch
from core.models.model import forward, parameter_table
from core.models.precision import rounding_of
from core.models.types import Arrays, Dropout
from core.rng import dropout_mask
from core.spec.class_weights import weights_of
from core.spec.experiment import Experiment
from core.word_dropout import drop_words

TINY = 1e-40


def shared_dropout(experiment: Experiment, step: int) -> Dropout:
    """Return the dropout function of a training step, with the shared masks."""

    def dropout(x: np.ndarray, place: str, rate: float) -> np.ndarray:
        if rate == 0.0:
            return x
        return x * dropout_mask(experiment.training.seed, step, place, x.shape, rate) / (1.0 - rate)

    return dropout


def training_batch(experiment: Experiment, batch: Batch, step: int) -> Batch:
    """Return the batch as a training step reads it, with word dropout."""
    return drop_words(batch, experiment.training.word_dropout, step, [experiment.training.seed])


def training_losses(experiment: Experiment, arrays: Arrays, batch: Batch, step: int) -> np.ndarray:
    """Return the losses [B] of a training step with dropout, in the precision of `arrays`."""
    training, head = experiment.training, experiment.model.head
    rounded = rounding_of(training.dtype)
    batch = training_batch(experiment, batch, step)
    outputs = forward(experiment.model, arrays, batch, shared_dropout(experiment, step), rounded)
    return head.losses(outputs, batch, weights_of(training.class_weights))


def training_loss(experiment: Experiment, arrays: Arrays, batch: Batch, step: int) -> np.ndarray:
    """Return the scalar loss of a training step with dropout, in the precision of `arrays`."""
    counted = experiment.model.head.counted(batch) if experiment.training.loss_reduction == "mean" else 1
    return training_losses(experiment, arrays, batch, step).sum() / counted


def slope(experiment: Experiment, arrays: Arrays, batch: Batch, step: int, direction: Arrays) -> float:
    """Return the derivative of the loss along `direction`, arrays of the parameters that it moves.

    `arrays` are float64.
    """
    moved = {name: array.astype(np.complex128) for name, array in arrays.items()}
    for name, array in direction.items():
        moved[name] += 1j * TINY * array
    return float(np.imag(training_loss(experiment, moved, batch, step)) / TINY)


def gradients(experiment: Experiment, arrays: Arrays, batch: Batch, step: int) -> Arrays:
    """Return the gradients of all trainable arrays, with one forward pass per entry."""
    values = {name: array.astype(np.complex128) for name, array in arrays.items()}
    found = {}
    for row in parameter_table(experiment.model):
        if not row.trainable:
            continue
        array, gradient = values[row.name], np.zeros(row.shape)
        for index in np.ndindex(row.shape):
            array[index] += 1j * TINY
            gradient[index] = np.imag(training_loss(experiment, values, batch, step)) / TINY
            array[index] = array[index].real
        found[row.name] = gradient
    return found
