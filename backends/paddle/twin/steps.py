"""Training steps of a Paddle model with the framework's own optimizers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from backends.paddle.framework import paddle
from backends.paddle.optimizer import clip
from backends.paddle.twin import casting, parameters
from backends.paddle.twin.dropout import shared_masks
from backends.paddle.twin.modules import kind_of, walk
from core.errors import UserError
from core.twin import kinds
from core.twin.contract import Optimization, Run
from core.twin.optimizers import float32_coefficients, scheduled_rates
from core.twin.recording import Arrays, Step


def train(side: Any, how: Run, batches: list[Arrays], optimization: Optimization) -> list[Step]:
    """Train on the `batches` in turn and return all steps; afterwards the model has its former values.

    The optimizer of the user's function (`side.optimizer`) takes the place of the one that `optimization` names.
    Gradients are cleared to None before every step, and clipped by the global norm without an epsilon. Every step has
    dropout masks of its own, by `how.seed` and its number. Raises UserError if no parameter is trained.
    """
    stack: list[tuple[str, Any]] = []
    found: list[Step] = []
    with ExitStack() as context:
        context.enter_context(casting.casted(side.model, how.dtype))
        context.enter_context(side.ready(how, []))
        context.enter_context(casting.seeded(how.seed))
        context.enter_context(following(side.model, stack))
        trained = [own for own in side.model.parameters() if not own.stop_gradient]
        if not trained:
            raise UserError(f"{side.name}: no parameter is trained: set stop_gradient to False, or train no steps")
        own = side.optimizer is not None
        optimizer, schedule = users(side.optimizer(side.model)) if own else (native(trained, optimization), None)
        rates = scheduled_rates(optimization)
        for number in range(1, optimization.steps + 1):
            if not own:
                set_rate(optimizer, rates[number - 1])
            batch = batches[(number - 1) % len(batches)]
            with shared_masks(side.model, how.seed + number, stack):
                loss = backward(side, batch, how)
            norm = clipped(side.model, optimization.clip_norm)
            gradients, rate = handed_over(side.model, optimizer), rate_of(optimizer)
            optimizer.step()
            if schedule is not None:
                schedule.step()
            found.append(Step(number, loss, rate, norm, dict(parameters.values(side.model)), gradients))
    return found


def backward(side: Any, batch: Arrays, how: Run) -> float:
    """Compute the gradients of the loss of a batch, and return the loss. Raises UserError if it depends on nothing."""
    for own in side.model.parameters():
        own.clear_gradient(False)
    args, kwargs = side.tensors(batch, how.dtype)
    loss = side.loss_of(side.model(*args, **kwargs), kwargs, args, how.seed)
    if loss.stop_gradient:
        raise UserError(f"{side.name}: the loss depends on no trained parameter: use another loss, or train no steps")
    loss.backward()
    return float(loss.detach())


def native(trained: list[Any], optimization: Optimization) -> Any:
    """Return the framework's optimizer of this name, with its coefficients rounded as both frameworks can."""
    own = float32_coefficients(optimization)
    decay = own.weight_decay or None
    if own.optimizer == "adam":
        return paddle.optimizer.Adam(own.rate, *own.betas, own.epsilon, trained, decay)
    if own.optimizer == "adamw":
        return paddle.optimizer.AdamW(own.rate, *own.betas, own.epsilon, trained, own.weight_decay)
    if own.optimizer == "momentum":
        return paddle.optimizer.Momentum(own.rate, own.momentum, trained, weight_decay=decay)
    if own.optimizer == "sgd":
        return paddle.optimizer.SGD(own.rate, trained, decay)
    raise UserError(f"optimizer {own.optimizer}: expected sgd, momentum, adam or adamw: choose one, or give a function")


def users(given: Any) -> tuple[Any, Any]:
    """Return optimizer and schedule of what the user's function returned, an optimizer or a pair."""
    if isinstance(given, (tuple, list)):
        return given[0], given[1]
    # The optimizer holds its schedule.
    rate = given._learning_rate
    return given, rate if isinstance(rate, paddle.optimizer.lr.LRScheduler) else None


def set_rate(optimizer: Any, rate: float) -> None:
    """Set the learning rate of the next step."""
    optimizer.set_lr(rate)


def rate_of(optimizer: Any) -> float:
    """Return the learning rate of the next step."""
    return float(optimizer.get_lr())


def clipped(model: Any, limit: float | None) -> float | None:
    """Clip all gradients by their global norm, and return the norm before that; None without gradients."""
    gradients = [own.grad for own in model.parameters() if own.grad is not None]
    if not gradients:
        return None
    return float(clip(gradients, "none" if limit is None else "global", limit or 0.0))


def handed_over(model: Any, optimizer: Any) -> dict[str, np.ndarray]:
    """Return the gradients that the optimizer uses, by neutral name."""
    # Paddle's optimizers clip inside `step`: docs/differences.md#clip_in_place
    before = [(own, own.grad) for own in model.parameters() if own.grad is not None]
    rule = optimizer._grad_clip
    after = before if rule is None else rule([(own, paddle.assign(gradient)) for own, gradient in before])
    try:
        for own, gradient in after:
            own.grad = gradient
        return dict(parameters.gradients(model))
    finally:
        for own, gradient in before:
            own.grad = gradient


@contextmanager
def following(model: Any, stack: list[tuple[str, Any]]) -> Iterator[None]:
    """Keep the attention layers at work in `stack` for a while: their dropout masks have an axis of heads."""
    changed = [(path, own) for path, own in walk(model).items() if kind_of(own)[0] == kinds.ATTENTION]

    def wrapped(path: str, module: Any, forward: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            stack.append((path, module))
            try:
                return forward(*args, **kwargs)
            finally:
                stack.pop()

        return call

    try:
        for path, own in changed:
            vars(own)["forward"] = wrapped(path, own, own.forward)
        yield
    finally:
        for _, own in changed:
            vars(own).pop("forward", None)
