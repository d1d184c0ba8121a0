"""The fault class, and patching of backends."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np

from core.batch import Batch
from core.models.encoders.encoder import Encoded

Patches = list[tuple[object, str, object]]
"""Replacements as (owner, name, replacement)."""


@dataclass(frozen=True)
class Fault:
    """A deliberate fault and its expected detection."""

    description: str
    rung: int
    """The lowest rung of the parity check that must fail."""
    named: str
    """The first tensor, or step, that the report must name."""
    plant: Callable[[ModuleType], Patches]
    needs: Mapping[str, object] = field(default_factory=dict)
    """Spec values that the fault requires to have an effect."""


@contextmanager
def patched(patches: Patches) -> Iterator[None]:
    """Replace names for the duration of the block. Raises AttributeError for a missing name."""
    before = [(owner, attribute, getattr(owner, attribute)) for owner, attribute, _ in patches]
    try:
        for owner, attribute, replacement in patches:
            setattr(owner, attribute, replacement)
        yield
    finally:
        for owner, attribute, original in before:
            setattr(owner, attribute, original)


def reading(side: ModuleType, change: Callable[[str, np.ndarray], np.ndarray]) -> Patches:
    """Let a backend's model load every array as `change(name, array)`."""
    original = side.model.Model.assign

    def assign(self, arrays):
        original(self, {name: np.ascontiguousarray(change(name, array)) for name, array in arrays.items()})

    return [(side.model.Model, "assign", assign)]


def padding_as_real(side: ModuleType) -> tuple[Patches, dict]:
    """Compute a second set of encoder inputs that treats padding as real tokens.

    The returned dictionary holds them and their `device`.
    """
    original, seen = side.engine.Inputs, {}

    def inputs_both(batch: Batch, dtype, device):
        everything = np.full_like(batch.lengths, batch.ids.shape[1])
        seen.update(inputs=original(dataclasses.replace(batch, lengths=everything), dtype, device), device=device)
        return original(batch, dtype, device)

    return [(side.engine, "Inputs", inputs_both)], seen


def mixed(one: Encoded, other: Encoded, mix: Callable) -> Encoded:
    """Combine two encoder outputs tensor by tensor."""
    layers = {name: mix(values, other.layers[name]) for name, values in one.layers.items()}
    blocks = [
        dataclasses.replace(own, values=mix(own.values, another.values))
        for own, another in zip(one.blocks, other.blocks, strict=True)
    ]
    return dataclasses.replace(one, layers=layers, blocks=tuple(blocks))
