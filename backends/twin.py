"""Comparison of a PyTorch model with a Paddle model in one process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from core.twin.compare import compare_sides
from core.twin.contract import Optimization, Progress
from core.twin.kinds import MODES
from core.twin.verdict import Verdict

Loss = Callable[[Any, Any], Any]
Functions = tuple[Callable | None, Callable | None]


def compare(  # noqa: PLR0913
    torch_model: Any,
    paddle_model: Any,
    inputs: Mapping[str, Any],
    to: str | None = "paddle",
    mapping: Mapping[str, str] | None = None,
    loss: Functions | None = None,
    optimizer: str | Optimization | Functions | None = None,
    steps: int = 0,
    dtype: str = "float64",
    seed: int = 0,
    modes: Sequence[str] = MODES,
    progress: Progress | None = None,
) -> Verdict:
    """Compare two models; the one of the framework `to` gets the values of the other first, and keeps them.

    `inputs` are arrays by keyword of `forward`, or by position as `0`, `1`. `mapping` has names of parameters or
    modules in Paddle by names in PyTorch. `loss` is a pair of functions (outputs, inputs) -> scalar, PyTorch's first.
    `optimizer` is a name (`sgd`, `momentum`, `adam`, `adamw`), all its settings, or a pair of functions of the model
    that return an optimizer; without `steps` nothing is trained. With `to=None` each model keeps its own values.
    Errors of the models' code pass through. Raises UserError.
    """
    from backends.paddle.twin.side import TwinSide as PaddleSide
    from backends.torch.twin.side import TwinSide as TorchSide

    losses = loss or (None, None)
    own: Functions = (None, None)
    optimization = Optimization(steps=steps)
    if isinstance(optimizer, Optimization):
        optimization = replace(optimizer, steps=steps or optimizer.steps)
        steps = optimization.steps
    elif isinstance(optimizer, str):
        optimization = Optimization(optimizer, steps=steps)
    elif optimizer is not None:
        own = optimizer
    return compare_sides(
        TorchSide(torch_model, loss=losses[0], optimizer=own[0]),
        PaddleSide(paddle_model, loss=losses[1], optimizer=own[1]),
        {name: np.asarray(array) for name, array in inputs.items()},
        to=to,
        mapping=mapping,
        modes=modes,
        dtype=dtype,
        seed=seed,
        optimization=optimization if steps else None,
        progress=progress,
    )
