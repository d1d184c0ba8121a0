"""Fused projections: one matrix for q, k and v in one model, three in the other.

The fused parameter counts as three, in descriptions, recordings and training steps; `SplitSide` does it for a side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from core.twin.contract import Optimization, Run, Side
from core.twin.recording import Arrays, Module, Parameter, Recording, Setting, Step
from core.twin.similar import role_with_module

PARTS = ("q", "k", "v")
Plan = Mapping[str, int]
"""Number of rows of each part, by name of the fused parameter."""


def fused(first: Recording, second: Recording) -> tuple[dict[str, int], dict[str, int]]:
    """Return the fused parameters of both models: those whose rows are q, k and v of the other model together.

    In order of definition, as many as the other model has triples of parameters of the third size.
    """
    found: tuple[dict[str, int], dict[str, int]] = ({}, {})
    for at, (side, other) in enumerate(((first, second), (second, first))):
        names = {own.name for own in other.parameters}
        triples = _triples(other)
        for own in side.parameters:
            shape = own.values.shape
            if own.name in names or own.buffer or own.tied_to or not shape or shape[0] % 3:
                continue
            third = (shape[0] // 3, *shape[1:])
            if triples.get(third):
                triples[third] -= 1
                found[at][own.name] = third[0]
    return found


def _triples(side: Recording) -> dict[tuple[int, ...], int]:
    counts: dict[tuple[int, ...], dict[str, int]] = {}
    for own in side.parameters:
        part = role_with_module(own.module, own.role).split(".")[0]
        if part in PARTS and not own.buffer:
            counts.setdefault(own.values.shape, dict.fromkeys(PARTS, 0))[part] += 1
    return {shape: min(found.values()) for shape, found in counts.items()}


def split_parameters(parameters: tuple[Parameter, ...], plan: Plan) -> tuple[Parameter, ...]:
    """Return parameters with three in the place of each fused one."""
    found: list[Parameter] = []
    for own in parameters:
        if own.name not in plan:
            found.append(own)
            continue
        for at, part in enumerate(PARTS):
            rows = slice(at * plan[own.name], (at + 1) * plan[own.name])
            name, role = _part(own.name, part), f"{part}.{own.role}"
            found.append(replace(own, name=name, role=role, values=own.values[rows]))
    return tuple(found)


def split_arrays(arrays: Arrays, plan: Plan) -> Arrays:
    """Return arrays by parameter with three in the place of each fused one."""
    found: dict[str, np.ndarray] = {}
    for name, own in arrays.items():
        if name in plan:
            found |= {_part(name, part): own[at * plan[name] : (at + 1) * plan[name]] for at, part in enumerate(PARTS)}
        else:
            found[name] = own
    return found


def _part(name: str, part: str) -> str:
    start, dot, role = name.rpartition(".")
    return f"{start}{dot}{part}.{role}"


@dataclass(frozen=True)
class SplitSide:
    """A side whose fused parameters count as three each."""

    side: Side
    plan: Plan

    @property
    def framework(self) -> str:
        """Return the framework of the model."""
        return self.side.framework

    @property
    def version(self) -> str:
        """Return the version of the framework."""
        return self.side.version

    @property
    def name(self) -> str:
        """Return the name of the model."""
        return self.side.name

    def describe(self) -> tuple[tuple[Module, ...], tuple[Parameter, ...]]:
        """Return modules and parameters."""
        modules, parameters = self.side.describe()
        return modules, split_parameters(parameters, self.plan)

    def write(self, values: Mapping[str, np.ndarray]) -> None:
        """Write parameters by name; the three parts of a fused one must all be there, or none."""
        rest = dict(values)
        for name in self.plan:
            parts = [rest.pop(_part(name, part), None) for part in PARTS]
            if all(own is not None for own in parts):
                rest[name] = np.concatenate([own for own in parts if own is not None])
        self.side.write(rest)

    def run(self, how: Run) -> Recording:
        """Run the model once."""
        return self.split(self.side.run(how))

    def split(self, own: Recording) -> Recording:
        """Return a recording of the model with three parameters in the place of each fused one."""
        return replace(
            own,
            parameters=split_parameters(own.parameters, self.plan),
            gradients=split_arrays(own.gradients, self.plan),
        )

    def repeat(
        self, path: str, inputs: Arrays, settings: Mapping[str, Setting], how: Run, lengths: np.ndarray | None = None
    ) -> Arrays | None:
        """Call a leaf alone."""
        return self.side.repeat(path, inputs, settings, how, lengths)

    def train(self, how: Run, batches: list[Arrays], optimization: Optimization) -> list[Step]:
        """Train the model."""
        return [
            replace(own, values=split_arrays(own.values, self.plan), gradients=split_arrays(own.gradients, self.plan))
            for own in self.side.train(how, batches, optimization)
        ]
