"""What the code of a framework does for a comparison (`backends/*/twin/side.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from core.twin.recording import Arrays, Module, Parameter, Recording, Setting, Step

Progress = Callable[[str, int, int | None], None]
"""Called with a description, how much of it is done and how much there is. `compare_sides` gets one as `progress`."""


@dataclass(frozen=True)
class Run:
    """How a model is run."""

    inputs: Arrays
    """Arguments by keyword of `forward`, or by position as `0`, `1`: integers stay int64, floats get `dtype`."""
    mode: str = "evaluation"
    """`evaluation` or `training`."""
    dtype: str = "float64"
    seed: int = 0
    """Seed of dropout masks and of the weights of the loss."""
    backward: bool = True


@dataclass(frozen=True)
class Optimization:
    """Training steps with the framework's own optimizer."""

    optimizer: str = "adam"
    """`sgd`, `momentum`, `adam` or `adamw`."""
    rate: float = 1e-3
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    """Decoupled for adamw, L2 otherwise."""
    clip_norm: float | None = None
    """Largest norm of all gradients together."""
    schedule: str = "constant"
    """`constant`, `linear` (to 0 after the last step) or `cosine`."""
    steps: int = 10


class Side(Protocol):
    """A model of one framework. It is changed by `write` and `train` alone; `run` restores modes and buffers."""

    @property
    def framework(self) -> str:
        """Return `torch` or `paddle`."""
        ...

    @property
    def version(self) -> str:
        """Return the version of the framework."""
        ...

    @property
    def name(self) -> str:
        """Return the model's name as the user gave it: `mine_torch.py:Model`."""
        ...

    def __init__(
        self,
        model: Any,
        name: str = "",
        loss: Callable | None = None,
        optimizer: Callable | None = None,
    ) -> None:
        """Wrap a model. `loss(outputs, inputs)` returns a scalar tensor, by default the weighted sum of all outputs.

        `optimizer(model)` returns the user's own optimizer, or a pair of optimizer and schedule, for `train`.
        The weights of the default loss are `core.twin.inputs.loss_weights` of each floating-point output.
        """
        ...

    def describe(self) -> tuple[tuple[Module, ...], tuple[Parameter, ...]]:
        """Return modules and parameters, as in `Recording`."""
        ...

    def write(self, values: Mapping[str, np.ndarray]) -> None:
        """Write parameters and buffers by neutral name, in the neutral layout. Raises UserError for other shapes."""
        ...

    def run(self, how: Run) -> Recording:
        """Run the model once, forward and backward. Errors of the user's code pass through."""
        ...

    def repeat(
        self, path: str, inputs: Arrays, settings: Mapping[str, Setting], how: Run, lengths: np.ndarray | None = None
    ) -> Arrays | None:
        """Call the leaf at `path` alone with recorded `inputs` and changed `settings`; return its outputs.

        None if the framework cannot change one of these settings. The module is as before afterwards.
        """
        ...

    def train(self, how: Run, batches: list[Arrays], optimization: Optimization) -> list[Step]:
        """Train on the `batches` in turn and return all steps; afterwards the model has its former values."""
        ...
