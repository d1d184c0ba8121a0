"""Single layers of the framework, to compare a converted layer with the original one."""

from __future__ import annotations

import numpy as np

from backends.torch.framework import torch
from core.errors import UserError

EPSILON = float(np.float32(1e-5))
"""Default of both frameworks, as Paddle keeps it: in float32. torch keeps it in float64, a difference of 3e-13."""


def layer_output(kind: str, state: dict[str, np.ndarray], inputs: np.ndarray) -> np.ndarray:
    """Return the output of a layer in float64, in evaluation mode.

    `state`: its arrays by the framework's names, in its layout; they determine all sizes. `kind` and `inputs` as in
    `core/weights/layers.py`; the output of a recurrent layer is [B, L, H * directions], of a cell [B, H].
    """
    layer = _build(kind, state).double().eval()
    tensors = {name: torch.from_numpy(array.astype(np.float64)) for name, array in state.items()}
    layer.load_state_dict(tensors)
    with torch.no_grad():
        output = layer(torch.from_numpy(inputs))
    return (output[0] if isinstance(output, tuple) else output).numpy()


def _build(kind: str, state: dict[str, np.ndarray]) -> torch.nn.Module:
    nn, bias = torch.nn, any(name.startswith("bias") for name in state)
    first = next(iter(state.values())) if "weight" not in state else state["weight"]
    if kind == "Linear":
        return nn.Linear(first.shape[1], first.shape[0], bias=bias)
    if kind == "Embedding":
        return nn.Embedding(*first.shape)
    if kind == "Conv1D":
        return nn.Conv1d(first.shape[1], first.shape[0], first.shape[2], bias=bias)
    if kind == "LayerNorm":
        return nn.LayerNorm(len(first), eps=EPSILON)
    if kind == "BatchNorm1D":
        return nn.BatchNorm1d(len(first), eps=EPSILON)
    if kind.endswith("Cell"):
        return getattr(nn, kind)(state["weight_ih"].shape[1], state["weight_hh"].shape[1], bias=bias)
    if kind not in ("RNN", "GRU", "LSTM"):
        raise UserError(f"layer kind {kind}: not supported")
    return getattr(nn, kind)(
        state["weight_ih_l0"].shape[1],
        state["weight_hh_l0"].shape[1],
        sum(name.startswith("weight_hh") and not name.endswith("_reverse") for name in state),
        bias=bias,
        batch_first=True,
        bidirectional="weight_hh_l0_reverse" in state,
    )
