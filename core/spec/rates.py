"""Learning rates by part of the model: factors, and steps in which a part does not change.

Discriminative fine-tuning and gradual unfreezing: Howard and Ruder 2018, sections 3.2 and 3.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from core.schema import Spec

if TYPE_CHECKING:
    from core.spec.training import Training

PARTS = ("embedding", "encoder", "head")
"""Parts of a model: the first components of the names of its parameters."""


class RateFactors(Spec):
    """Factors of the learning rate, by part."""

    embedding: float = Field(default=1.0, ge=0.0, allow_inf_nan=False)
    encoder: float = Field(default=1.0, ge=0.0, allow_inf_nan=False)
    head: float = Field(default=1.0, ge=0.0, allow_inf_nan=False)


class FrozenSteps(Spec):
    """Number of first steps in which the learning rate of a part is 0."""

    embedding: int = Field(default=0, ge=0)
    encoder: int = Field(default=0, ge=0)
    head: int = Field(default=0, ge=0)


def part_of(name: str) -> str:
    """Return the part of a parameter, as `encoder` of `encoder.bias_hh_l0`."""
    return name.partition(".")[0]


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
