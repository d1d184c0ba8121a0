"""What a fault is, and how it is planted in a backend and taken out again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np

from core.batch import Batch
from core.models.encoders.encoder import Encoded

Patches = list[tuple[object, str, object]]
"""(owner, name, replacement)"""


@dataclass(frozen=True)
class Fault:
    """One entry of the catalogue."""

    description: str
    rung: int
    """The lowest rung that must fail."""
    named: str
    """What the report must name there as the first tensor, or step, to differ."""
    plant: Callable[[ModuleType], Patches]
    needs: dict[str, object] = field(default_factory=dict)
    """Values of the spec without which there would be nothing to see."""


@contextmanager
def patched(patches: Patches) -> Iterator[None]:
    """Replace names as long as this lasts. Raises AttributeError for one that is not there."""
    before = [(owner, attribute, getattr(owner, attribute)) for owner, attribute, _ in patches]
    try:
        for owner, attribute, replacement in patches:
            setattr(owner, attribute, replacement)
        yield
    finally:
        for owner, attribute, original in before:
            setattr(owner, attribute, original)


def reading(side: ModuleType, change: Callable[[str, np.ndarray], np.ndarray]) -> Patches:
    """Have a backend's model read every array as `change(name, array)`."""
    original = side.model.Model.assign

    def assign(self, arrays):
        original(self, {name: np.ascontiguousarray(change(name, array)) for name, array in arrays.items()})

    return [(side.model.Model, "assign", assign)]


def as_if_all_were_real(side: ModuleType) -> tuple[Patches, dict]:
    """The encoder's inputs twice: in the dictionary those of a batch whose padding counts, with its `device`."""
    original, seen = side.engine.Inputs, {}

    def inputs_both(batch: Batch, dtype, device):
        everything = np.full_like(batch.lengths, batch.ids.shape[1])
        seen.update(inputs=original(dataclasses.replace(batch, lengths=everything), dtype, device), device=device)
        return original(batch, dtype, device)

    return [(side.engine, "Inputs", inputs_both)], seen


def mixed(one: Encoded, other: Encoded, mix: Callable) -> Encoded:
    """An encoder's output put together from two, tensor by tensor."""
    layers = {name: mix(values, other.layers[name]) for name, values in one.layers.items()}
    blocks = [
        dataclasses.replace(own, values=mix(own.values, another.values))
        for own, another in zip(one.blocks, other.blocks, strict=True)
    ]
    return dataclasses.replace(one, layers=layers, blocks=tuple(blocks))
