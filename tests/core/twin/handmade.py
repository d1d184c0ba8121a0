"""Recordings made by hand: a chain of layers that computes nothing, for tests without a framework."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from core.twin.kinds import ACTIVATION, LINEAR
from core.twin.recording import Call, Module, Parameter, Recording


@dataclass(frozen=True)
class Layer:
    """A leaf of a chain."""

    path: str
    kind: str = LINEAR
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    size: int = 4
    """Width of the output."""


def linear(path: str, size: int = 4, inputs: int = 4) -> Layer:
    return Layer(path, LINEAR, {"weight": (size, inputs), "bias": (size,)}, {"bias": True}, size)


def activation(path: str, function: str = "relu", size: int = 4) -> Layer:
    return Layer(path, ACTIVATION, {}, {"function": function}, size)


def chain(
    framework: str,
    layers: Sequence[Layer],
    rng: np.random.Generator,
    run: Sequence[str] | None = None,
    mode: str = "evaluation",
) -> Recording:
    """A model that calls its layers in the order `run`, that of definition by default; each gets the last output."""
    by_path = {own.path: own for own in layers}
    last, calls = rng.standard_normal((5, 4)), []
    start = last
    for number, path in enumerate(run or by_path):
        output = rng.standard_normal((5, by_path[path].size))
        calls.append(Call(number, path, {"0": last}, {"": output}, place=f"mine_{framework}.py:{30 + number}"))
        last = output
    containers = dict.fromkeys(own.path.rpartition(".")[0] for own in layers)
    children = {
        outer: tuple(own.path for own in layers if own.path.rpartition(".")[0] == outer) for outer in containers
    }
    inner = tuple(outer for outer in containers if outer)
    modules = [Module("", "Model", children=(*children.get("", ()), *inner))]
    modules += [Module(outer, "Block", children=children[outer]) for outer in inner]
    modules += [Module(own.path, own.kind.title(), own.kind, own.settings) for own in layers]
    parameters = [
        Parameter(f"{own.path}.{role}", f"{own.path}.{role}", own.path, role, rng.standard_normal(shape))
        for own in layers
        for role, shape in own.shapes.items()
    ]
    return Recording(
        *(framework, "1", "float64", mode, 0, tuple(modules), tuple(parameters), {"x": start}, tuple(calls)),
        outputs={"": last},
    )


def twin(first: Recording, renamed: dict[str, str] | None = None) -> Recording:
    """The same model in Paddle, under other paths, with the same arrays up to rounding."""
    names = renamed or {}

    def other(path: str) -> str:
        return names.get(path, path)

    def rounded(arrays):
        return {route: own * (1 + 1e-15) if own.dtype.kind == "f" else own for route, own in arrays.items()}

    return replace(
        first,
        framework="paddle",
        modules=tuple(
            replace(own, path=other(own.path), children=tuple(map(other, own.children))) for own in first.modules
        ),
        parameters=tuple(
            replace(own, name=f"{other(own.module)}.{own.role}", module=other(own.module)) for own in first.parameters
        ),
        calls=tuple(
            replace(own, path=other(own.path), inputs=rounded(own.inputs), outputs=rounded(own.outputs))
            for own in first.calls
        ),
        outputs=rounded(first.outputs),
    )


def with_calls(recording: Recording, changed: dict[int, dict]) -> Recording:
    """The recording with other fields of calls, by number; its outputs are those of the last call."""
    calls = tuple(replace(own, **changed.get(own.number, {})) for own in recording.calls)
    return replace(recording, calls=calls, outputs=calls[-1].outputs)


def with_settings(recording: Recording, path: str, **settings) -> Recording:
    modules = tuple(
        replace(own, settings={**own.settings, **settings}) if own.path == path else own for own in recording.modules
    )
    return replace(recording, modules=modules)
