"""What a model is and what it computed in one run, as arrays without a framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from core.twin.kinds import CONTAINER

Setting = str | int | float | bool | tuple | None
Arrays = Mapping[str, np.ndarray]
"""Arrays by route: the place of a tensor in nested arguments or results, as `0`, `1.h` or `logits`; `` for a single
one. Routes of arguments start with a position or a keyword of `forward`."""


@dataclass(frozen=True)
class Parameter:
    """A parameter or buffer of a model, in the neutral layout (`values`)."""

    name: str
    """Neutral name: path of its module and its role, as `encoder.weight_ih_l0`, unique in the model."""
    own_name: str
    """Name in the framework's own `state_dict`; several neutral names may be parts of one (fused projections)."""
    module: str
    """Path of the module that holds it, "" for the model itself."""
    role: str
    """Role in its module: `weight`, `bias`, `running_mean`, `weight_ih_l0_reverse`, `q.weight`, or its own name."""
    values: np.ndarray
    """Values in PyTorch's layout for modules of a known kind, as in the framework otherwise."""
    trainable: bool = True
    """False for a frozen parameter."""
    buffer: bool = False
    """True for state that is no parameter, such as running statistics."""
    layout: str = "same"
    """How the framework's own layout becomes the neutral one: `same`, or `transposed` (2 axes)."""
    tied_to: str = ""
    """Neutral name of an earlier parameter with the same storage, "" if none; then they are compared once."""


@dataclass(frozen=True)
class Module:
    """A module of a model."""

    path: str
    class_name: str
    """Class as the user knows it, `LayerNorm`."""
    kind: str = CONTAINER
    settings: Mapping[str, Setting] = field(default_factory=dict)
    """Settings by neutral name, those of `kinds.SETTINGS[kind]`; empty for a kind without any."""
    children: tuple[str, ...] = ()
    """Paths of its direct children, none of a leaf, in order of definition."""
    trainable_mode: bool = True
    """False if the module stays in evaluation mode when the model is set to training mode."""
    note: str = ""
    """Why the module cannot be followed, "" if it can: hidden state, weight norm, an unknown class with parameters."""

    @property
    def leaf(self) -> bool:
        """Return whether its calls are compared as a whole."""
        return not self.children


@dataclass(frozen=True)
class Call:
    """One call of a module."""

    number: int
    """Number of the call in order of its end, from 0; a container ends after its children."""
    path: str
    inputs: Arrays
    outputs: Arrays
    lengths: np.ndarray | None = None
    """Lengths [B] of sequences that the inputs of a recurrent layer were packed with."""
    gradients: Arrays = field(default_factory=dict)
    """Gradients of the loss for the outputs, by route; a route is missing if the loss does not depend on it."""
    place: str = ""
    """Line of the user's code that made the call, `mine.py:31`."""


@dataclass(frozen=True)
class Step:
    """One training step."""

    number: int
    """From 1."""
    loss: float
    rate: float
    """Learning rate of the step."""
    norm: float | None
    """Norm of all gradients before clipping; None if it is not known."""
    values: Arrays
    """Parameters and buffers after the step, by neutral name."""
    gradients: Arrays
    """Gradients as the optimizer got them, by neutral name."""


@dataclass(frozen=True)
class Recording:
    """A model and one run of it: forward, and backward unless `loss` is None."""

    framework: str
    """`torch` or `paddle`."""
    version: str
    dtype: str
    """`float64` or `float32`."""
    mode: str
    """`evaluation` or `training`."""
    seed: int
    modules: tuple[Module, ...]
    """In order of definition; the first is the model itself, with path ""."""
    parameters: tuple[Parameter, ...]
    inputs: Arrays
    """Arguments of the model, by keyword of its `forward` or position."""
    calls: tuple[Call, ...] = ()
    """Calls of all modules, the last one of the model itself."""
    outputs: Arrays = field(default_factory=dict)
    loss: float | None = None
    gradients: Arrays = field(default_factory=dict)
    """Gradients of parameters by neutral name; a name is missing if the loss does not depend on it."""
    input_gradients: Arrays = field(default_factory=dict)
    """Gradients of floating-point arguments."""
    after: Arrays = field(default_factory=dict)
    """Buffers after the run, by neutral name (running statistics move in training mode)."""
    dropouts: tuple[tuple[str, tuple[int, ...], float], ...] = ()
    """Dropout calls that got a shared mask, in order: module path ("" for a function), shape, rate."""
    notes: tuple[str, ...] = ()
    """What could not be followed, a sentence each."""
    seconds: float = 0.0

    def module(self, path: str) -> Module:
        """Return the module at `path`. Raises KeyError."""
        return {own.path: own for own in self.modules}[path]

    def parameter(self, name: str) -> Parameter:
        """Return the parameter with the neutral `name`. Raises KeyError."""
        return {own.name: own for own in self.parameters}[name]

    def leaf_calls(self) -> list[Call]:
        """Return the calls of leaves, in order."""
        leaves = {own.path for own in self.modules if own.leaf}
        return [call for call in self.calls if call.path in leaves]
