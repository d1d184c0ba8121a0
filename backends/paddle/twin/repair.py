"""Calls of a single Paddle layer with other settings, to see whether they explain a difference."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from backends.paddle.framework import paddle
from backends.paddle.twin import casting
from backends.paddle.twin.calls import arguments_of, outputs_of
from backends.paddle.twin.changes import changed_copy
from backends.paddle.twin.dropout import without_inner_dropout
from backends.paddle.twin.modules import kind_of
from core.twin import kinds
from core.twin.contract import Run
from core.twin.recording import Arrays, Setting


def repeat(  # noqa: PLR0913
    side: Any,
    path: str,
    inputs: Arrays,
    settings: Mapping[str, Setting],
    how: Run,
    lengths: np.ndarray | None = None,
) -> Arrays | None:
    """Call the layer at `path` alone with recorded `inputs` and changed `settings`; return its outputs by route.

    None if a setting cannot be changed, or if the layer draws dropout masks: these depend on all earlier calls. The
    layer itself stays as it is.
    """
    original = side.find(path)
    with ExitStack() as stack:
        stack.enter_context(casting.casted(original, how.dtype))
        stack.enter_context(casting.seeded(how.seed))
        stack.enter_context(paddle.set_grad_enabled(True))
        original.train() if how.mode == "training" else original.eval()
        module = changed_copy(original, settings)
        if module is None or draws(module):
            return None
        without_inner_dropout(module)
        try:
            args, kwargs = arguments_of(module, _fitting(module, inputs), how.dtype, lengths)
            outputs = module(*args, **kwargs)
        except (RuntimeError, ValueError, IndexError):
            if not settings:
                raise
            # The other model's settings need not fit this layer, as a dilation that is wider than the input.
            return None
        return {route: own.array(own.tensor) for route, own in outputs_of(module, outputs, lengths).items()}


def draws(module: Any) -> bool:
    """Return whether a layer draws dropout masks in its present mode."""
    kind, settings = kind_of(module)
    rate = {kinds.DROPOUT: "rate", kinds.ATTENTION: "dropout"}.get(kind)
    return bool(module.training and rate is not None and settings[rate])


def _fitting(module: Any, inputs: Arrays) -> Arrays:
    """Return the inputs with a mask for the layer's number of heads, if all its heads have the same one."""
    mask = inputs.get("mask")
    if mask is None or kind_of(module)[0] != kinds.ATTENTION or mask.shape[1] == module.num_heads:
        return inputs
    return {**inputs, "mask": np.repeat(mask[:, :1], module.num_heads, axis=1)}
