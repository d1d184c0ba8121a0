"""Adversarial training on the word vectors (`core/adversarial.py`)."""

from __future__ import annotations

from collections.abc import Callable

from backends.torch.dropout import Dropout
from backends.torch.framework import torch
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


def backpropagate(
    model: Model, inputs: Inputs, dropout: Dropout, loss_of: Callable[[Outputs], torch.Tensor], size: float
) -> tuple[torch.Tensor, Outputs]:
    """Add the gradients of the mean of `loss_of` without and with perturbation to the parameters.

    Return that mean, and the outputs without perturbation.
    """
    x = model.embedding(inputs, dropout)
    plain = x.detach().requires_grad_()
    outputs = model.forward_vectors(plain, inputs, dropout)
    loss = loss_of(outputs) / 2
    loss.backward()
    moved = (plain + perturbation(plain.grad, inputs, size)).detach().requires_grad_()
    other = loss_of(model.forward_vectors(moved, inputs, dropout)) / 2
    other.backward()
    if x.requires_grad:  # not with a frozen embedding
        x.backward(plain.grad + moved.grad)
    return (loss + other).detach(), outputs
