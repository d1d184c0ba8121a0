"""Adversarial training on the word vectors (`core/adversarial.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from backends.kernels import training
from backends.paddle.dropout import Dropout
from backends.paddle.fast import contiguous, empty_like
from backends.paddle.framework import paddle
from backends.paddle.heads.pooled import log_probabilities_of
from backends.paddle.model import Model
from backends.paddle.runtime import Inputs

Outputs = dict[str, paddle.Tensor]


def perturbation(gradient: paddle.Tensor, inputs: Inputs, size: float) -> paddle.Tensor:
    """Return r = size * sqrt(n) * g / |g| per text, for its gradient g and n tokens, [B, L, E]."""
    gradient = gradient * inputs.mask  # the sum of a mean reads the zeros of padding
    norms = gradient.square().sum(axis=[1, 2]).sqrt()
    lengths = inputs.mask.sum(axis=[1, 2])
    factors = size * lengths.sqrt() / paddle.where(norms > 0, norms, paddle.ones_like(norms))
    return gradient * factors[:, None, None]


def moved(model: Model, inputs: Inputs, plain: paddle.Tensor, gradient: paddle.Tensor, size: float) -> paddle.Tensor:
    """Return `plain` [B, L, E] plus the perturbation of `gradient`, for a pass of its own."""
    if model.fast:
        plain, gradient = contiguous((plain.detach(), gradient))
        found = empty_like(plain)
        training.perturb(inputs.lengths, plain, gradient, found, size)
    else:
        found = plain + perturbation(gradient, inputs, size)
    found = found.detach()
    found.stop_gradient = False
    return found


@dataclass(frozen=True)
class Virtual:
    """A virtual adversarial perturbation of one step."""

    directions: paddle.Tensor
    """Random directions [B, L, E], drawn in core."""
    probe: float
    size: float
    weight: float
    mean_of: Callable[[paddle.Tensor], paddle.Tensor]
    """Reduces the divergences [B] of all texts, those without a label included."""


def log_probabilities(logits: paddle.Tensor) -> paddle.Tensor:
    """Return [B, C] from logits [B, C], or from a single logit [B, 1], that of class 1 of two."""
    if logits.shape[1] == 1:
        logits = paddle.concat([paddle.zeros_like(logits), logits], axis=1)
    return log_probabilities_of(logits)


def divergences(target: paddle.Tensor, logits: paddle.Tensor) -> paddle.Tensor:
    """Return KL(p || q) [B] of p with log-probabilities `target` [B, C], a constant, and q with `logits`."""
    return (target.exp() * (target - log_probabilities(logits))).sum(axis=1)


def steepest(
    model: Model, inputs: Inputs, dropout: Dropout, plain: paddle.Tensor, probe: tuple[paddle.Tensor, Virtual]
) -> paddle.Tensor:
    """Return the gradient [B, L, E] of the divergences by the word vectors, at the random directions.

    `plain`: word vectors; `probe`: the constant log-probabilities [B, C], and the perturbation. It is called
    before any other backward pass of the step, as it may clear gradients.
    """
    target, virtual = probe
    shifted = moved(model, inputs, plain, virtual.directions, virtual.probe)
    own = divergences(target, model.forward_vectors(shifted, inputs, dropout)["logits"])
    # `paddle.grad` by the input alone fails in built-in recurrent layers, which need all gradients.
    own.sum().backward()
    for parameter in model.named.values():
        parameter.clear_gradient(set_to_zero=False)
    return shifted.grad


def backpropagate(
    model: Model,
    inputs: Inputs,
    dropout: Dropout,
    loss_of: Callable[[Outputs], paddle.Tensor],
    perturbations: tuple[float, Virtual | None],
) -> tuple[paddle.Tensor, Outputs]:
    """Add the gradients of the loss with perturbations to the parameters.

    `perturbations`: size of the adversarial one, 0 for none, and the virtual one. The loss is the mean of `loss_of`
    without and with the adversarial perturbation, plus the weighted divergence of the virtual one. Return it, and the
    outputs without perturbation.
    """
    size, virtual = perturbations
    x = model.embedding(inputs, dropout)
    plain = x if x.is_leaf else x.detach()
    plain.stop_gradient = False
    outputs = model.forward_vectors(plain, inputs, dropout)
    loss = loss_of(outputs) / 2 if size else loss_of(outputs)
    worst = None
    if virtual is not None:
        target = log_probabilities(outputs["logits"].detach())
        worst = target, steepest(model, inputs, dropout, plain, (target, virtual))
    loss.backward()
    total = loss.detach()
    if size:
        near = moved(model, inputs, plain, plain.grad, size)
        other = loss_of(model.forward_vectors(near, inputs, dropout)) / 2
        other.backward()
        total = total + other.detach()
        with paddle.no_grad():
            plain.grad.add_(near.grad)
    if virtual is not None and worst is not None:
        target, direction = worst
        near = moved(model, inputs, plain, direction, virtual.size)
        own = divergences(target, model.forward_vectors(near, inputs, dropout)["logits"])
        term = virtual.weight * virtual.mean_of(own)
        term.backward()
        total = total + term.detach()
        with paddle.no_grad():
            plain.grad.add_(near.grad)
    if not x.is_leaf:  # a leaf is frozen, or has its gradient now
        x.backward(plain.grad)
    return total, outputs
