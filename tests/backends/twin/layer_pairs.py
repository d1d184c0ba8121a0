"""Pairs of equal layers of both frameworks: how each is made, and the shapes of their inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paddle
import torch

t, p = torch.nn, paddle.nn
cp = getattr(getattr(paddle, "compat", None), "nn", None)
wn = torch.nn.utils.parametrizations.weight_norm


@dataclass(frozen=True)
class Pair:
    """A layer in both frameworks."""

    torch: Callable[[], Any]
    paddle: Callable[[], Any]
    shapes: tuple[tuple[int, ...], ...]
    integers: int = 0
    """Bound of integer inputs, 0 for normal ones."""
    differing: tuple[str, ...] = ()
    """Settings that differ by name only."""
    limit: float = 1e-10
    """Largest difference: larger where Paddle has constants in float32."""


def _pair(torch_layer: Callable, paddle_layer: Callable, *shapes: tuple[int, ...], **options: Any) -> Pair:
    return Pair(torch_layer, paddle_layer, shapes, **options)


FLOAT32 = 1e-6
"""docs/differences.md#float32_inside"""
LAYERS = {
    "linear": _pair(lambda: t.Linear(5, 3), lambda: p.Linear(5, 3), (4, 5)),
    "linear without bias": _pair(lambda: t.Linear(5, 3, bias=False), lambda: p.Linear(5, 3, bias_attr=False), (4, 5)),
    "embedding": _pair(lambda: t.Embedding(9, 3), lambda: p.Embedding(9, 3), (4, 6), integers=9),
    "layer norm": _pair(lambda: t.LayerNorm([3, 5], eps=1e-3), lambda: p.LayerNorm([3, 5], 1e-3), (4, 3, 5)),
    "group norm": _pair(lambda: t.GroupNorm(2, 6), lambda: p.GroupNorm(2, 6), (4, 6, 5)),
    "batch norm": _pair(lambda: t.BatchNorm2d(3, momentum=0.3), lambda: p.BatchNorm2D(3, momentum=0.7), (4, 3, 5, 6)),
    "instance norm": _pair(lambda: t.InstanceNorm2d(3, affine=True), lambda: p.InstanceNorm2D(3), (4, 3, 5, 6)),
    "conv1d": _pair(lambda: t.Conv1d(4, 6, 3, 2, 1, groups=2), lambda: p.Conv1D(4, 6, 3, 2, 1, groups=2), (2, 4, 9)),
    "conv2d": _pair(
        lambda: t.Conv2d(4, 6, (3, 5), padding="same", bias=False),
        lambda: p.Conv2D(4, 6, (3, 5), padding="SAME", bias_attr=False),
        (2, 4, 9, 8),
    ),
    "conv3d": _pair(lambda: t.Conv3d(2, 3, 2), lambda: p.Conv3D(2, 3, 2), (2, 2, 4, 5, 3)),
    "transposed conv": _pair(
        lambda: t.ConvTranspose1d(4, 6, 3, 2, 1, output_padding=1),
        lambda: p.Conv1DTranspose(4, 6, 3, 2, 1, output_padding=1),
        (2, 4, 9),
    ),
    "max pool": _pair(
        lambda: t.MaxPool2d(3, 2, ceil_mode=True), lambda: p.MaxPool2D(3, 2, ceil_mode=True), (2, 4, 8, 9)
    ),
    "average pool": _pair(
        lambda: t.AvgPool1d(3, 2, 1, count_include_pad=False), lambda: p.AvgPool1D(3, 2, 1), (2, 4, 9), limit=FLOAT32
    ),
    "adaptive pool": _pair(
        lambda: t.AdaptiveAvgPool2d((3, 2)), lambda: p.AdaptiveAvgPool2D((3, 2)), (2, 4, 9, 7), limit=FLOAT32
    ),
    "upsample": _pair(
        lambda: t.UpsamplingBilinear2d(scale_factor=2),
        lambda: p.UpsamplingBilinear2D(scale_factor=2),
        (2, 3, 4, 5),
        limit=FLOAT32,
    ),
    "lstm": _pair(
        lambda: t.LSTM(4, 3, 2, batch_first=True, bidirectional=True),
        lambda: p.LSTM(4, 3, 2, direction="bidirect"),
        (2, 5, 4),
    ),
    "lstm with projection": _pair(
        lambda: t.LSTM(4, 3, 2, proj_size=2, batch_first=True), lambda: p.LSTM(4, 3, 2, proj_size=2), (2, 5, 4)
    ),
    "gru with states": _pair(lambda: t.GRU(4, 3, batch_first=True), lambda: p.GRU(4, 3), (2, 5, 4), (1, 2, 3)),
    "gru over time": _pair(lambda: t.GRU(4, 3), lambda: p.GRU(4, 3, time_major=True), (5, 2, 4)),
    "rnn": _pair(
        lambda: t.RNN(4, 3, nonlinearity="relu", batch_first=True),
        lambda: p.SimpleRNN(4, 3, activation="relu"),
        (2, 5, 4),
    ),
    "layer around a cell": _pair(lambda: t.LSTM(4, 3, batch_first=True), lambda: p.RNN(p.LSTMCell(4, 3)), (2, 5, 4)),
    "lstm cell": _pair(lambda: t.LSTMCell(4, 3), lambda: p.LSTMCell(4, 3), (2, 4)),
    "gru cell": _pair(lambda: t.GRUCell(4, 3), lambda: p.GRUCell(4, 3), (2, 4), (2, 3)),
    "attention": _pair(
        lambda: t.MultiheadAttention(6, 2, batch_first=True, dropout=0.3),
        lambda: p.MultiHeadAttention(6, 2, dropout=0.3, need_weights=True),
        *((2, 5, 6), (2, 4, 6), (2, 4, 6)),
    ),
    "attention of other sizes": _pair(
        lambda: t.MultiheadAttention(6, 2, kdim=4, vdim=3, batch_first=True, bias=False),
        lambda: p.MultiHeadAttention(6, 2, kdim=4, vdim=3, bias_attr=False, need_weights=True),
        *((2, 5, 6), (2, 4, 4), (2, 4, 3)),
    ),
    "transformer": _pair(
        lambda: t.TransformerEncoder(
            t.TransformerEncoderLayer(6, 2, 8, 0.2, activation="gelu", norm_first=True, batch_first=True), 2
        ),
        lambda: p.TransformerEncoder(
            p.TransformerEncoderLayer(6, 2, 8, 0.2, activation="gelu", normalize_before=True), 2
        ),
        (2, 5, 6),
    ),
    "dropout": _pair(
        lambda: t.Sequential(t.Linear(4, 4), t.Dropout(0.4)),
        lambda: p.Sequential(p.Linear(4, 4), p.Dropout(0.4)),
        (3, 4),
    ),
    "dropout of channels": _pair(lambda: t.Dropout2d(0.4), lambda: p.Dropout2D(0.4), (3, 4, 5, 6)),
    "dropout by axis": _pair(
        lambda: t.Dropout1d(0.4), lambda: p.Dropout(0.4, axis=[0, 1]), (3, 4, 5), differing=("axes",)
    ),
    "alpha dropout": _pair(lambda: t.AlphaDropout(0.4), lambda: p.AlphaDropout(0.4), (3, 4, 5)),
    "padding": _pair(lambda: t.ConstantPad1d((1, 2), 3.0), lambda: p.Pad1D([1, 2], value=3.0), (3, 4, 5)),
    "reflection": _pair(lambda: t.ReflectionPad2d(2), lambda: p.Pad2D(2, mode="reflect"), (3, 4, 5, 6)),
    "flatten": _pair(t.Flatten, p.Flatten, (3, 4, 5)),
    "weight norm": _pair(lambda: wn(t.Conv1d(4, 3, 2)), lambda: p.utils.weight_norm(p.Conv1D(4, 3, 2)), (3, 4, 5)),
    "old weight norm": _pair(
        lambda: t.utils.weight_norm(t.Linear(4, 3), dim=None),
        lambda: p.utils.weight_norm(p.Linear(4, 3), dim=1),
        (3, 4),
    ),
    "weight norm in one": _pair(lambda: wn(t.Linear(4, 3)), lambda: p.Linear(4, 3), (3, 4)),
    "threshold": _pair(lambda: t.Threshold(0.3, 0.0), lambda: p.ThresholdedReLU(0.3), (3, 4)),
}
if cp is not None:
    LAYERS["compat linear"] = _pair(lambda: t.Linear(5, 3), lambda: cp.Linear(5, 3), (4, 5))
    LAYERS["compat attention"] = _pair(
        lambda: t.MultiheadAttention(6, 2, batch_first=True),
        lambda: cp.MultiheadAttention(6, 2, batch_first=True),
        *((2, 5, 6), (2, 4, 6), (2, 4, 6)),
    )

ACTIVATIONS: dict[str, tuple[dict[str, Any], str, dict[str, Any], float]] = {
    name: ({}, name, {}, 1e-10)
    for name in (
        *("ReLU", "ReLU6", "Sigmoid", "Tanh", "Tanhshrink", "Softsign", "Mish", "Hardswish", "LogSigmoid", "PReLU"),
        *("ELU", "CELU", "Softplus", "Hardtanh", "Softshrink", "Hardshrink"),
    )
} | {
    "SiLU": ({}, "Silu", {}, 1e-10),
    "SELU": ({}, "SELU", {}, FLOAT32),
    "Hardsigmoid": ({}, "Hardsigmoid", {}, FLOAT32),
    "GELU": ({"approximate": "tanh"}, "GELU", {"approximate": True}, 1e-10),
    "LeakyReLU": ({"negative_slope": 0.2}, "LeakyReLU", {"negative_slope": 0.2}, 1e-10),
    "Softmax": ({"dim": 1}, "Softmax", {"axis": 1}, 1e-10),
    "LogSoftmax": ({"dim": 1}, "LogSoftmax", {"axis": 1}, 1e-10),
    "GLU": ({"dim": 1}, "GLU", {"axis": 1}, 1e-10),
}
"""Settings in PyTorch, class and settings in Paddle, and limit by class in PyTorch."""
for _name, (_ours, _other, _theirs, _limit) in ACTIVATIONS.items():
    LAYERS[_name] = _pair(
        lambda name=_name, own=_ours: getattr(t, name)(**own),
        lambda name=_other, own=_theirs: getattr(p, name)(**own),
        (3, 4, 5),
        limit=_limit,
    )
