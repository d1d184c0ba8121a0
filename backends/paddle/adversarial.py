"""Adversarial training on the word vectors (`core/adversarial.py`)."""

from __future__ import annotations

from collections.abc import Callable

from backends.paddle.dropout import Dropout
from backends.paddle.framework import paddle
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


def backpropagate(
    model: Model, inputs: Inputs, dropout: Dropout, loss_of: Callable[[Outputs], paddle.Tensor], size: float
) -> tuple[paddle.Tensor, Outputs]:
    """Add the gradients of the mean of `loss_of` without and with perturbation to the parameters.

    Return that mean, and the outputs without perturbation.
    """
    x = model.embedding(inputs, dropout)
    plain = x.detach()
    plain.stop_gradient = False
    outputs = model.forward_vectors(plain, inputs, dropout)
    loss = loss_of(outputs) / 2
    loss.backward()
    moved = (plain + perturbation(plain.grad, inputs, size)).detach()
    moved.stop_gradient = False
    other = loss_of(model.forward_vectors(moved, inputs, dropout)) / 2
    other.backward()
    if not x.stop_gradient:  # not with a frozen embedding
        x.backward(plain.grad + moved.grad)
    return (loss + other).detach(), outputs
