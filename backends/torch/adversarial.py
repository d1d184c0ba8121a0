"""Adversarial training on the word vectors (`core/adversarial.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from backends.kernels import training
from backends.torch.dropout import Dropout
from backends.torch.fast import contiguous, empty_like
from backends.torch.framework import torch
from backends.torch.heads.pooled import log_probabilities_of
from backends.torch.model import Model
from backends.torch.runtime import Inputs

Outputs = dict[str, torch.Tensor]


def perturbation(gradient: torch.Tensor, inputs: Inputs, size: float) -> torch.Tensor:
    """Return r = size * sqrt(n) * g / |g| per text, for its gradient g and n tokens, [B, L, E]."""
    gradient = gradient * inputs.mask  # the sum of a mean reads the zeros of padding
    norms = gradient.square().sum(dim=(1, 2)).sqrt()
    lengths = inputs.mask.sum(dim=(1, 2))
    factors = size * lengths.sqrt() / torch.where(norms > 0, norms, torch.ones_like(norms))
    return gradient * factors[:, None, None]


def moved(model: Model, inputs: Inputs, plain: torch.Tensor, gradient: torch.Tensor, size: float) -> torch.Tensor:
    """Return `plain` [B, L, E] plus the perturbation of `gradient`, for a pass of its own."""
    if model.fast:
        plain, gradient = contiguous((plain.detach(), gradient))
        found = empty_like(plain)
        training.perturb(inputs.lengths, plain, gradient, found, size)
    else:
        found = plain + perturbation(gradient, inputs, size)
    return found.detach().requires_grad_()


@dataclass(frozen=True)
class Virtual:
    """A virtual adversarial perturbation of one step."""

    directions: torch.Tensor
    """Random directions [B, L, E], drawn in core."""
    probe: float
    size: float
    weight: float
    mean_of: Callable[[torch.Tensor], torch.Tensor]
    """Reduces the divergences [B] of all texts, those without a label included."""


def log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Return [B, C] from logits [B, C], or from a single logit [B, 1], that of class 1 of two."""
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    return log_probabilities_of(logits)


def divergences(target: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Return KL(p || q) [B] of p with log-probabilities `target` [B, C], a constant, and q with `logits`."""
    return (target.exp() * (target - log_probabilities(logits))).sum(dim=1)


def steepest(
    model: Model, inputs: Inputs, dropout: Dropout, plain: torch.Tensor, probe: tuple[torch.Tensor, Virtual]
) -> torch.Tensor:
    """Return the gradient [B, L, E] of the divergences by the word vectors, at the random directions.

    `plain`: word vectors; `probe`: the constant log-probabilities [B, C], and the perturbation. It is called
    before any other backward pass of the step, as it may clear gradients.
    """
    target, virtual = probe
    shifted = moved(model, inputs, plain, virtual.directions, virtual.probe)
    own = divergences(target, model.forward_vectors(shifted, inputs, dropout)["logits"])
    return torch.autograd.grad(own.sum(), shifted)[0]


def backpropagate(
    model: Model,
    inputs: Inputs,
    dropout: Dropout,
    loss_of: Callable[[Outputs], torch.Tensor],
    perturbations: tuple[float, Virtual | None],
) -> tuple[torch.Tensor, Outputs]:
    """Add the gradients of the loss with perturbations to the parameters.

    `perturbations`: size of the adversarial one, 0 for none, and the virtual one. The loss is the mean of `loss_of`
    without and with the adversarial perturbation, plus the weighted divergence of the virtual one. Return it, and the
    outputs without perturbation.
    """
    size, virtual = perturbations
    x = model.embedding(inputs, dropout)
    plain = (x if x.is_leaf else x.detach()).requires_grad_()
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
        with torch.no_grad():
            plain.grad.add_(near.grad)
    if virtual is not None and worst is not None:
        target, direction = worst
        near = moved(model, inputs, plain, direction, virtual.size)
        own = divergences(target, model.forward_vectors(near, inputs, dropout)["logits"])
        term = virtual.weight * virtual.mean_of(own)
        term.backward()
        total = total + term.detach()
        with torch.no_grad():
            plain.grad.add_(near.grad)
    if not x.is_leaf:  # a leaf is frozen, or has its gradient now
        x.backward(plain.grad)
    return total, outputs
