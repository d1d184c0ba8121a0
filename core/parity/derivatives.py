"""Exact derivatives of the NumPy reference by the complex step (Squire and Trapp 1998).

Im f(x + i h d) / h is the slope of f along d. It contains no difference of close numbers, so nothing cancels even for h
= 1e-40. The result is exact to rounding and independent of automatic differentiation. A forward pass takes the steps of
many entries, each in a copy of the batch (`core/parity/copies.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.adversarial import divergences, log_probabilities, perturbation_of, random_directions
from core.batch import Batch
from core.models.model import forward, parameter_table
from core.models.precision import rounding_of
from core.models.types import Arrays, Dropout
from core.parity.copies import COPIES, Copies, repeated, repeated_batch, rounding_copies, steps_by_entry
from core.rng import dropout_mask
from core.spec.class_weights import weights_of
from core.spec.experiment import Experiment
from core.word_dropout import drop_words

TINY = 1e-40


def shared_dropout(experiment: Experiment, step: int, copies: int = 1) -> Dropout:
    """Return the dropout function of a training step, with the shared masks; equal ones in all copies of a batch."""

    def dropout(x: np.ndarray, place: str, rate: float) -> np.ndarray:
        if rate == 0.0:
            return x
        mask = dropout_mask(experiment.training.seed, step, place, (len(x) // copies, *x.shape[1:]), rate)
        return x * repeated(mask, copies) / (1.0 - rate)

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

    They are those of the word vectors plus `perturbation` [B, L, E], if it is given. If `arrays` hold `Copies`, or
    `perturbation` is [K B, L, E], the batch is repeated, and they are [K B, ...].
    """
    outputs = training_outputs(experiment, arrays, batch, step, perturbation)
    weights = weights_of(experiment.training.class_weights)
    read = repeated_batch(training_batch(experiment, batch, step), _copies(arrays, batch, perturbation))
    return experiment.model.head.losses(outputs, read, weights)


def training_outputs(
    experiment: Experiment, arrays: Arrays, batch: Batch, step: int, perturbation: np.ndarray | None = None
) -> Arrays:
    """Return the outputs of all layers in a training step, as `training_losses`."""
    copies = _copies(arrays, batch, perturbation)
    rounded, dropout = rounding_of(experiment.training.dtype), shared_dropout(experiment, step, copies)
    read = repeated_batch(training_batch(experiment, batch, step), copies)
    if perturbation is not None and len(perturbation) < len(read.lengths):
        perturbation = repeated(perturbation, copies)
    return forward(experiment.model, arrays, read, perturbing(dropout, perturbation), rounding_copies(rounded))


def _copies(arrays: Arrays, batch: Batch, perturbation: np.ndarray | None = None) -> int:
    """Return the number K of copies of the batch that parameters and a perturbation are for."""
    rows = [len(batch.lengths), *(own.rows for own in arrays.values() if isinstance(own, Copies))]
    return max(*rows, 0 if perturbation is None else len(perturbation)) // len(batch.lengths)


@dataclass(frozen=True)
class Perturbations:
    """The perturbations of a training step, which are constants for its gradients."""

    adversarial: np.ndarray | None
    """[B, L, E], None without any."""
    virtual: np.ndarray | None
    """[B, L, E], None without any."""
    target: np.ndarray | None
    """Log-probabilities without perturbation [B, C]; None without a virtual perturbation."""


def perturbations(experiment: Experiment, arrays: Arrays, batch: Batch, step: int) -> Perturbations | None:
    """Return the perturbations of a training step, None without any. `arrays` are float64."""
    worst = adversarial_perturbation(experiment, arrays, batch, step)
    virtual, target = virtual_perturbation(experiment, arrays, batch, step)
    return None if worst is None and virtual is None else Perturbations(worst, virtual, target)


def adversarial_perturbation(experiment: Experiment, arrays: Arrays, batch: Batch, step: int) -> np.ndarray | None:
    """Return the perturbation r [B, L, E] of the word vectors in a training step, None without any.

    `arrays` are float64. The gradient takes a complex step per component of a text's word vectors; the texts of a batch
    share it, as the loss of a text depends on its own vectors alone.
    """
    size = experiment.training.adversarial
    if not size:
        return None
    values = {name: array.astype(np.complex128) for name, array in arrays.items()}
    start = np.zeros((*batch.ids.shape, experiment.model.embedding.output_size))

    gradient = vector_gradient(lambda shift: training_losses(experiment, values, batch, step, shift), start)
    return perturbation_of(gradient, batch, size)


def vector_gradient(losses_of: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> np.ndarray:
    """Return the gradient of every text's loss by its shift [B, L, E] at `start`.

    `losses_of(shift)` returns the losses [K B, ...] of K copies of the batch with shifts [K B, L, E].
    """
    rows, *shape = start.shape
    found = np.zeros((np.prod(shape, dtype=int), rows))
    for first in range(0, len(found), COPIES):
        steps = np.arange(first, min(first + COPIES, len(found)))
        shifts = repeated(start, len(steps)).astype(np.complex128).reshape(len(steps), rows, -1)
        shifts[np.arange(len(steps)), :, steps] += 1j * TINY
        losses = losses_of(shifts.reshape(-1, *shape)).reshape(len(steps), rows, -1).sum(axis=2)
        found[steps] = np.imag(losses) / TINY
    return found.T.reshape(start.shape)


def virtual_perturbation(
    experiment: Experiment, arrays: Arrays, batch: Batch, step: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the virtual perturbation r [B, L, E] and the log-probabilities without it [B, C]; None without any."""
    training = experiment.training
    if not training.virtual_adversarial:
        return None, None
    target, start = _probe(experiment, arrays, batch, step)
    values = {name: array.astype(np.complex128) for name, array in arrays.items()}

    def losses_of(shift: np.ndarray) -> np.ndarray:
        logits = training_outputs(experiment, values, batch, step, shift)["logits"]
        return divergences(repeated(target, len(shift) // len(target)), logits)

    return perturbation_of(vector_gradient(losses_of, start), batch, training.virtual_adversarial), target


def probe_divergences(experiment: Experiment, arrays: Arrays, batch: Batch, step: int) -> np.ndarray:
    """Return the divergences [B] at the random directions from which a virtual perturbation is computed.

    `arrays` are float64.
    """
    target, start = _probe(experiment, arrays, batch, step)
    return divergences(target, training_outputs(experiment, arrays, batch, step, start)["logits"])


def _probe(experiment: Experiment, arrays: Arrays, batch: Batch, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the log-probabilities [B, C] without perturbation, and the random directions [B, L, E] of their size."""
    training = experiment.training
    target = log_probabilities(training_outputs(experiment, arrays, batch, step)["logits"])
    directions = random_directions(training.seed, step, batch, experiment.model.embedding.output_size)
    return target, perturbation_of(directions, batch, training.virtual_probe)


def training_loss(
    experiment: Experiment, arrays: Arrays, batch: Batch, step: int, moved: Perturbations | None = None
) -> np.ndarray:
    """Return the scalar loss of a training step with dropout, in the precision of `arrays`.

    With an adversarial perturbation it is the mean of the losses without and with it; a virtual one adds a divergence.
    """
    return _loss_by_copy(experiment, arrays, batch, step, moved)[0]


def _loss_by_copy(
    experiment: Experiment, arrays: Arrays, batch: Batch, step: int, moved: Perturbations | None
) -> np.ndarray:
    """Return `training_loss` of every copy of the batch [K] that `arrays` are for."""
    copies = _copies(arrays, batch)

    def total(losses: np.ndarray) -> np.ndarray:
        return losses.reshape(copies, -1).sum(axis=1)

    def losses(perturbation: np.ndarray | None) -> np.ndarray:
        return total(training_losses(experiment, arrays, batch, step, perturbation)) / counted

    training = experiment.training
    counted = experiment.model.head.counted(batch) if training.loss_reduction == "mean" else 1
    loss = losses(None)
    if moved is None:
        return loss
    if moved.adversarial is not None:
        loss = (loss + losses(moved.adversarial)) / 2
    if moved.virtual is not None and moved.target is not None:
        logits = training_outputs(experiment, arrays, batch, step, moved.virtual)["logits"]
        texts = len(batch.lengths) if training.loss_reduction == "mean" else 1
        loss = loss + training.virtual_weight * total(divergences(repeated(moved.target, copies), logits)) / texts
    return loss


def slope(
    experiment: Experiment,
    arrays: Arrays,
    batch: Batch,
    direction: Arrays,
    perturbations: Perturbations | None = None,
) -> float:
    """Return the derivative of the loss of step 0 along `direction`, arrays of the parameters that it moves.

    `arrays` are float64.
    """
    moved = {name: array.astype(np.complex128) for name, array in arrays.items()}
    for name, array in direction.items():
        moved[name] += 1j * TINY * array
    return float(np.imag(training_loss(experiment, moved, batch, 0, perturbations)) / TINY)


def gradients(
    experiment: Experiment, arrays: Arrays, batch: Batch, step: int, perturbations: Perturbations | None = None
) -> Arrays:
    """Return the gradients of all trainable arrays, with one complex step per entry."""
    exact = {name: array.astype(np.complex128) for name, array in arrays.items()}
    read = training_batch(experiment, batch, step)
    found = {}
    for row in parameter_table(experiment.model):
        if row.trainable:
            gradient = np.zeros(exact[row.name].size)
            for entries, copies in steps_by_entry(exact[row.name], 1j * TINY, read):
                moved: dict[str, Any] = {**exact, row.name: copies}
                gradient[entries] = np.imag(_loss_by_copy(experiment, moved, batch, step, perturbations)) / TINY
            found[row.name] = gradient.reshape(row.shape)
    return found
