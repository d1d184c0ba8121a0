"""Single layers of the framework, to compare a converted layer with the original one."""

from __future__ import annotations

import numpy as np

from backends.paddle.framework import paddle
from core.errors import UserError

EPSILON = float(np.float32(1e-5))
"""Default of both frameworks, as Paddle keeps it: in float32. torch keeps it in float64, a difference of 3e-13."""


def layer_output(kind: str, state: dict[str, np.ndarray], inputs: np.ndarray) -> np.ndarray:
    """Return the output of a layer in float64, in evaluation mode.

    `state`: its arrays by the framework's names, in its layout; they determine all sizes. `kind` and `inputs` as in
    `core/weights/layers.py`; the output of a recurrent layer is [B, L, H * directions], of a cell [B, H].
    """
    before = paddle.get_default_dtype()
    paddle.set_default_dtype("float64")  # a cell also creates its first state in it
    try:
        layer = _build(kind, state)
        layer.eval()
        own = layer.state_dict()
        for name, array in state.items():
            own[name].set_value(array.astype(np.float64))
        with paddle.no_grad():
            output = layer(paddle.to_tensor(inputs))
    finally:
        paddle.set_default_dtype(before)
    return (output[0] if isinstance(output, tuple) else output).numpy()


def _build(kind: str, state: dict[str, np.ndarray]) -> paddle.nn.Layer:
    nn, bias = paddle.nn, None if any(name.startswith("bias") for name in state) else False
    first = next(iter(state.values())) if "weight" not in state else state["weight"]
    if kind == "Linear":
        return nn.Linear(first.shape[0], first.shape[1], bias_attr=bias)
    if kind == "Embedding":
        return nn.Embedding(*first.shape)
    if kind == "Conv1D":
        return nn.Conv1D(first.shape[1], first.shape[0], first.shape[2], bias_attr=bias)
    if kind == "LayerNorm":
        return nn.LayerNorm(len(first), epsilon=EPSILON)
    if kind == "BatchNorm1D":
        return nn.BatchNorm1D(len(first), epsilon=EPSILON)
    own = kind.replace("RNN", "SimpleRNN")
    if kind.endswith("Cell"):
        return getattr(nn, own)(state["weight_ih"].shape[1], state["weight_hh"].shape[1])
    if kind not in ("RNN", "GRU", "LSTM"):
        raise UserError(f"layer kind {kind}: not supported")
    return getattr(nn, own)(
        state["weight_ih_l0"].shape[1],
        state["weight_hh_l0"].shape[1],
        sum(name.startswith("weight_hh") and not name.endswith("_reverse") for name in state),
        direction="bidirect" if "weight_hh_l0_reverse" in state else "forward",
    )
