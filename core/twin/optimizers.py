"""Formulas of optimizers, and which of them a model's training steps follow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from core.errors import UserError
from core.twin.contract import Optimization

MOST_ENTRIES = 64
"""Entries of a parameter that the formulas are tried on."""
EXACT = 1e-6
"""Largest error of a formula, relative to the largest update. Paddle keeps some coefficients in float32."""
EPSILONS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-10, 1e-12, 1e-15)
BETAS = ((0.9, 0.999), (0.9, 0.99), (0.9, 0.98), (0.9, 0.95), (0.95, 0.999), (0.5, 0.999), (0.0, 0.999))
MOMENTA = (0.9, 0.95, 0.99, 0.8, 0.5)
DECAYS = (0.0, 0.01, 1e-4, 5e-4, 1e-3, 5e-3, 0.05, 0.1, 1e-5, 1e-2 / 2)


@dataclass(frozen=True)
class Formula:
    """An optimizer and the settings that it has."""

    optimizer: str
    """`sgd`, `momentum`, `nesterov`, `adam` or `adamw`."""
    momentum: float | None = None
    betas: tuple[float, float] | None = None
    epsilon: float | None = None
    weight_decay: float = 0.0

    def without(self, other: Formula) -> str:
        """Return the optimizer in words, with the settings that `other` has otherwise if it is the same one."""
        if self.optimizer != other.optimizer:
            return self.optimizer
        words = [f"{name} {_text(getattr(self, name))}" for name in self.differing(other)]
        return f"{self.optimizer} with {' and '.join(words)}"

    def differing(self, other: Formula) -> list[str]:
        """Return the names of all settings that differ."""
        return [own.name for own in fields(self) if getattr(self, own.name) != getattr(other, own.name)]


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def formula_of(optimization: Optimization) -> Formula:
    """Return the formula of a training run."""
    own = optimization
    if own.optimizer in ("adam", "adamw"):
        return Formula(own.optimizer, None, own.betas, own.epsilon, own.weight_decay)
    return Formula(own.optimizer, own.momentum if own.optimizer == "momentum" else None, None, None, own.weight_decay)


def follow(
    formula: Formula, start: np.ndarray, gradients: Sequence[np.ndarray], rates: Sequence[float]
) -> Iterator[np.ndarray]:
    """Yield the values after each step from `start`, given the gradients and rates of all steps.

    Sources: Kingma and Ba 2015 (Adam), Loshchilov and Hutter 2019 (AdamW), Sutskever et al. 2013 (momentum).
    """
    value = start.astype(np.float64)
    first, second = np.zeros_like(value), np.zeros_like(value)
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        if formula.optimizer == "adamw":
            value = value * (1 - rate * formula.weight_decay)
        else:
            gradient = gradient + formula.weight_decay * value
        if formula.betas is not None and formula.epsilon is not None:
            one, two = formula.betas
            first = one * first + (1 - one) * gradient
            second = two * second + (1 - two) * gradient**2
            value = value - rate * (first / (1 - one**step)) / (np.sqrt(second / (1 - two**step)) + formula.epsilon)
        elif formula.momentum is not None:
            first = formula.momentum * first + gradient
            ahead = gradient + formula.momentum * first
            value = value - rate * (ahead if formula.optimizer == "nesterov" else first)
        else:
            value = value - rate * gradient
        yield value


def candidates(told: Formula) -> Iterator[Formula]:
    """Return formulas in common use, `told` first, then those that differ from it in few settings."""
    yield told
    for name in ("adam", "adamw"):
        # A common value of one setting is more likely than those of two.
        grid = sorted(itertools.product(*map(range, (len(EPSILONS), len(BETAS), len(DECAYS)))), key=_rank)
        for epsilon, betas, decay in grid:
            yield Formula(name, None, BETAS[betas], EPSILONS[epsilon], DECAYS[decay])
    for decay in DECAYS:
        yield Formula("sgd", weight_decay=decay)
        for name, momentum in itertools.product(("momentum", "nesterov"), MOMENTA):
            yield Formula(name, momentum, weight_decay=decay)


def _rank(places: tuple[int, ...]) -> tuple[int, int]:
    return sum(place > 0 for place in places), sum(places)


def recognize(
    told: Formula,
    start: np.ndarray,
    values: Sequence[np.ndarray],
    gradients: Sequence[np.ndarray],
    rates: Sequence[float],
) -> Formula | None:
    """Return the formula that the steps of one parameter follow best, None if no common one explains them."""
    size = min(start.size, MOST_ENTRIES)
    take = np.unique(np.linspace(0, start.size - 1, size).astype(np.int64))
    start, *rest = (own.reshape(-1)[take].astype(np.float64) for own in (start, *values, *gradients))
    ends, slopes = rest[: len(values)], rest[len(values) :]
    scale = max(float(np.abs(ends[-1] - start).max(initial=0.0)), 1e-300)
    best: tuple[float, Formula] | None = None
    for formula in candidates(told):
        # A later candidate has to be clearly better: with small effects several fit.
        least = EXACT if best is None else 1e-2 * best[0]
        error = 0.0
        for one, two in zip(follow(formula, start, slopes, rates), ends, strict=True):
            error = max(error, float(np.abs(one - two).max(initial=0.0)) / scale)
            if not error <= least:
                break
        else:
            best = (error, _plain(formula))
    return None if best is None else best[1]


def _plain(formula: Formula) -> Formula:
    return replace(formula, optimizer="adam") if formula.optimizer == "adamw" and not formula.weight_decay else formula


def scheduled_rates(optimization: Optimization) -> list[float]:
    """Return the learning rate of every step. Raises UserError for an unknown schedule."""
    own = optimization
    shares = [step / own.steps for step in range(own.steps)]
    if own.schedule == "constant":
        return [own.rate] * own.steps
    if own.schedule == "linear":
        return [own.rate * (1 - share) for share in shares]
    if own.schedule == "cosine":
        return [own.rate * 0.5 * (1 + math.cos(math.pi * share)) for share in shares]
    raise UserError(f"schedule {own.schedule}: expected constant, linear or cosine")


def float32_coefficients(optimization: Optimization) -> Optimization:
    """Return the same with momentum and weight decay as float32 numbers, to which Paddle rounds them in float64 too.

    See docs/differences.md#momentum_rounding.
    """
    momentum, decay = float(np.float32(optimization.momentum)), float(np.float32(optimization.weight_decay))
    return replace(optimization, momentum=momentum, weight_decay=decay)
