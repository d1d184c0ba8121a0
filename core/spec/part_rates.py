"""The learning rate of every part of a model in a step, a function of the spec and the step alone."""

from __future__ import annotations

from core.spec.rates import PARTS
from core.spec.training import Training


def part_rates(training: Training, step: int, rate: float) -> dict[str, float]:
    """Return the learning rate of every part at `step` >= 0, where that of the schedule is `rate`."""
    factors, frozen = training.rate_factors, training.frozen_steps
    return {part: 0.0 if step < getattr(frozen, part) else rate * getattr(factors, part) for part in PARTS}


def equal_rates(training: Training) -> list[tuple[str, ...]]:
    """Return the parts in groups that have equal rates in every step."""
    groups: dict[tuple[float, int], tuple[str, ...]] = {}
    for part in PARTS:
        own = getattr(training.rate_factors, part), getattr(training.frozen_steps, part)
        groups[own] = (*groups.get(own, ()), part)
    return list(groups.values())
