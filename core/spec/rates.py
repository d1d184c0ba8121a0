"""Learning rates by part of the model: factors, and steps in which a part does not change.

Discriminative fine-tuning and gradual unfreezing: Howard and Ruder 2018, sections 3.2 and 3.3.
"""

from __future__ import annotations

from pydantic import Field

from core.schema import Spec

PARTS = ("embedding", "encoder", "head")
"""Parts of a model: the first components of the names of its parameters, and `head` for all others."""


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
    """Return the part of a parameter, as `encoder` of `encoder.bias_hh_l0`; that of a decoder is `head`."""
    first = name.partition(".")[0]
    return first if first in PARTS else "head"
