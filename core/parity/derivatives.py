"""Exact derivatives of the NumPy reference by the complex step (Squire and Trapp 1998).

Im f(x + i h d) / h is the slope of f along d. It contains no difference of close numbers, so nothing cancels even for h
= 1e-40. The result is exact to rounding and independent of automatic differentiation.
"""

from __future__ import annotations

import numpy as np

from core.adversarial import perturbation_of
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


def perturbing(dropout: Dropout, perturbation: np.ndarray | None) -> Dropout:
    """Return a dropout function that also adds `perturbation` [B, L, E] to the word vectors."""
    if perturbation is None:
        return dropout

    def perturbed(x: np.ndarray, place: str, rate: float) -> np.ndarray:
        return dropout(x, place, rate) + (perturbation if place == "embedding" else 0.0)

    return perturbed


def training_batch(experiment: Experiment, batch: Batch, step: int) -> Batch:
    """Return the batch as a training step reads it, with word dropout and noise words."""
    training = experiment.training
    batch = experiment.model.head.sampled(batch, training.seed, step)
    return drop_words(batch, training.word_dropout, step, [training.seed])


def training_losses(
    experiment: Experiment, arrays: Arrays, batch: Batch, step: int, perturbation: np.ndarray | None = None
) -> np.ndarray:
    """Return the losses [B, ...] of a training step with dropout, in the precision of `arrays`.

    They are those of the word vectors plus `perturbation` [B, L, E], if it is given.
    """
    training, head = experiment.training, experiment.model.head
    rounded = rounding_of(training.dtype)
    batch = training_batch(experiment, batch, step)
    dropout = perturbing(shared_dropout(experiment, step), perturbation)
    outputs = forward(experiment.model, arrays, batch, dropout, rounded)
    return head.losses(outputs, batch, weights_of(training.class_weights))


def adversarial_perturbation(experiment: Experiment, arrays: Arrays, batch: Batch, step: int) -> np.ndarray | None:
    """Return the perturbation r [B, L, E] of the word vectors in a training step, None without any.

    `arrays` are float64. The gradient takes a forward pass per component of a text's word vectors; the texts of a batch
    share it, as the loss of a text depends on its own vectors alone.
    """
    training, embedding = experiment.training, experiment.model.embedding
    if not training.adversarial:
        return None
    values = {name: array.astype(np.complex128) for name, array in arrays.items()}
    shift = np.zeros((*batch.ids.shape, embedding.output_size), np.complex128)
    gradient = np.zeros(shift.shape)
    for token, component in np.ndindex(shift.shape[1:]):
        shift[:, token, component] = 1j * TINY
        losses = training_losses(experiment, values, batch, step, shift)
        gradient[:, token, component] = np.imag(losses.reshape(len(shift), -1).sum(axis=1)) / TINY
        shift[:, token, component] = 0.0
    return perturbation_of(gradient, batch, training.adversarial)


def training_loss(
    experiment: Experiment, arrays: Arrays, batch: Batch, step: int, perturbation: np.ndarray | None = None
) -> np.ndarray:
    """Return the scalar loss of a training step with dropout, in the precision of `arrays`.

    With the `perturbation` of adversarial training it is the mean of the losses without and with it.
    """
    counted = experiment.model.head.counted(batch) if experiment.training.loss_reduction == "mean" else 1
    loss = training_losses(experiment, arrays, batch, step).sum() / counted
    if perturbation is None:
        return loss
    return (loss + training_losses(experiment, arrays, batch, step, perturbation).sum() / counted) / 2


def slope(
    experiment: Experiment,
    arrays: Arrays,
    batch: Batch,
    direction: Arrays,
    perturbation: np.ndarray | None = None,
) -> float:
    """Return the derivative of the loss of step 0 along `direction`, arrays of the parameters that it moves.

    `arrays` are float64.
    """
    moved = {name: array.astype(np.complex128) for name, array in arrays.items()}
    for name, array in direction.items():
        moved[name] += 1j * TINY * array
    return float(np.imag(training_loss(experiment, moved, batch, 0, perturbation)) / TINY)


def gradients(
    experiment: Experiment, arrays: Arrays, batch: Batch, step: int, perturbation: np.ndarray | None = None
) -> Arrays:
    """Return the gradients of all trainable arrays, with one forward pass per entry."""
    values = {name: array.astype(np.complex128) for name, array in arrays.items()}
    found = {}
    for row in parameter_table(experiment.model):
        if not row.trainable:
            continue
        array, gradient = values[row.name], np.zeros(row.shape)
        for index in np.ndindex(row.shape):
            array[index] += 1j * TINY
            gradient[index] = np.imag(training_loss(experiment, values, batch, step, perturbation)) / TINY
            array[index] = array[index].real
        found[row.name] = gradient
    return found
