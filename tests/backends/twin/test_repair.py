"""Layers of one framework that agree with those of the other once they get their settings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from core.twin.contract import Run
from core.twin.naming import pair_routes
from tests.conftest import needs_both

pytestmark = needs_both

BATCH, LENGTH, SIZE = 3, 6, 8

Build = Callable[[object], object]

CASES: dict[str, tuple[Build, Build, tuple[int, ...], dict, dict]] = {
    "layer norm": (
        lambda nn: nn.LayerNorm(SIZE, 2**-14),
        lambda nn: nn.LayerNorm(SIZE, 2**-10),
        (BATCH, SIZE),
        {"epsilon": 2**-14},
        {"epsilon": 2**-10},
    ),
    "layer norm without a bias": (
        lambda nn: nn.LayerNorm(SIZE, 2**-14, bias=False),
        lambda nn: nn.LayerNorm(SIZE, 2**-14),
        (BATCH, SIZE),
        {"bias": False},
        {},
    ),
    "group norm": (
        lambda nn: nn.GroupNorm(2, SIZE, 0.125),
        lambda nn: nn.GroupNorm(4, SIZE, 0.125),
        (BATCH, SIZE, LENGTH),
        {"groups": 2},
        {"groups": 4},
    ),
    "batch norm": (
        lambda nn: nn.BatchNorm1d(SIZE, 0.125),
        lambda nn: nn.BatchNorm1D(SIZE, epsilon=0.5),
        (BATCH, SIZE, LENGTH),
        {"epsilon": 0.125},
        {"epsilon": 0.5},
    ),
    "convolution": (
        lambda nn: nn.Conv1d(SIZE, 4, 2, padding=1, dilation=2),
        lambda nn: nn.Conv1D(SIZE, 4, 2, padding=0, stride=2),
        (BATCH, SIZE, LENGTH),
        {"padding": (1,), "stride": (1,), "dilation": (2,)},
        {"padding": (0,), "stride": (2,), "dilation": (1,)},
    ),
    "padding mode": (
        lambda nn: nn.Conv2d(2, 4, 3, padding=1, padding_mode="replicate"),
        lambda nn: nn.Conv2D(2, 4, 3, padding=1),
        (BATCH, 2, LENGTH, LENGTH),
        {"padding_mode": "replicate"},
        {"padding_mode": "zeros"},
    ),
    "average pooling": (
        lambda nn: nn.AvgPool2d(3, 2, 1, ceil_mode=True),
        lambda nn: nn.AvgPool2D(3, 2, 1),
        (BATCH, 2, LENGTH, LENGTH),
        {"ceil_mode": True, "count_padding": True},
        {"ceil_mode": False, "count_padding": False},
    ),
    "maximum against average": (
        lambda nn: nn.MaxPool1d(2),
        lambda nn: nn.AvgPool1D(2),
        (BATCH, SIZE, LENGTH),
        {"function": "max"},
        {"function": "average"},
    ),
    "upsampling": (
        lambda nn: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        lambda nn: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        (BATCH, 2, 4, 4),
        {"align_corners": True},
        {"align_corners": False},
    ),
    "gelu": (
        lambda nn: nn.GELU(),
        lambda nn: nn.GELU(approximate=True),
        (BATCH, SIZE),
        {"approximate": "none"},
        {"approximate": "tanh"},
    ),
    "another activation": (
        lambda nn: nn.LeakyReLU(0.25),
        lambda nn: nn.Tanh(),
        (BATCH, SIZE),
        {"function": "leaky_relu", "slope": 0.25},
        {"function": "tanh"},
    ),
    "axis of softmax": (
        lambda nn: nn.Softmax(1),
        lambda nn: nn.Softmax(-1),
        (BATCH, LENGTH, SIZE),
        {"axis": 1},
        {"axis": -1},
    ),
    "activation of a recurrent layer": (
        lambda nn: nn.RNN(SIZE, 4, nonlinearity="relu", batch_first=True),
        lambda nn: nn.SimpleRNN(SIZE, 4),
        (BATCH, LENGTH, SIZE),
        {"activation": "relu"},
        {"activation": "tanh"},
    ),
    "batch axis": (
        lambda nn: nn.GRU(SIZE, 4),
        lambda nn: nn.GRU(SIZE, 4),
        (LENGTH, LENGTH, SIZE),
        {"batch_first": False},
        {"batch_first": True},
    ),
    "activation of a cell": (
        lambda nn: nn.RNNCell(SIZE, 4, nonlinearity="relu"),
        lambda nn: nn.SimpleRNNCell(SIZE, 4),
        (BATCH, SIZE),
        {"activation": "relu"},
        {"activation": "tanh"},
    ),
    "heads": (
        lambda nn: nn.MultiheadAttention(SIZE, 2, batch_first=True),
        lambda nn: nn.MultiHeadAttention(SIZE, 4),
        (BATCH, LENGTH, SIZE),
        {"heads": 2},
        {"heads": 4},
    ),
}
"""By name: layers of PyTorch and Paddle, shape of the input, and the settings of each that differ."""


POSITIONS = 1e-6
"""Paddle computes the positions of an interpolation in float32."""


def sides(first: Build, second: Build, rng: np.random.Generator):
    """Both layers with the same random values, in models of one layer."""
    from backends.paddle.framework import paddle
    from backends.paddle.twin import TwinSide as PaddleSide
    from backends.torch.framework import torch
    from backends.torch.twin import TwinSide as TorchSide

    one, two = TorchSide(torch.nn.Sequential(first(torch.nn))), PaddleSide(paddle.nn.Sequential(second(paddle.nn)))
    values: dict[str, np.ndarray] = {}
    for side in (one, two):
        own = {entry.name: entry.values.shape for entry in side.describe()[1] if entry.values.dtype.kind == "f"}
        for name in own.keys() - values.keys():
            drawn = rng.standard_normal(own[name])
            values[name] = 0.5 + np.abs(drawn) if "running" in name else drawn
        side.write({name: values[name] for name in own})
    return one, two


def gap(one, two) -> float:
    routes = pair_routes(one, two)
    assert routes
    shapes = [(one[a].shape, two[b].shape) for a, b in routes]
    if any(a != b for a, b in shapes):
        return float("inf")
    return max(float(np.abs(one[a] - two[b]).max(initial=0.0)) for a, b in routes)


def inputs_of(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> dict[str, np.ndarray]:
    array = rng.standard_normal(shape)
    return {str(at): array for at in range(3)} if kind == "heads" else {"0": array}


@pytest.mark.parametrize("name", CASES)
def test_the_other_layer_s_settings_repair_a_layer_of_either_framework(name, rng):
    first, second, shape, own, other = CASES[name]
    one, two = sides(first, second, rng)
    inputs = inputs_of(name, shape, rng)
    how = Run(inputs)
    states = [side.describe() for side in (one, two)]
    plain = [side.repeat("0", inputs, {}, how) for side in (one, two)]
    limit = POSITIONS if name == "upsampling" else 1e-12
    assert None not in plain and gap(*plain) > 1e-5
    fixed = two.repeat("0", inputs, own, how)
    assert fixed is not None and gap(plain[0], fixed) < limit
    if other:
        fixed = one.repeat("0", inputs, other, how)
        assert fixed is not None and gap(fixed, plain[1]) < limit
    for side, (modules, parameters) in zip((one, two), states, strict=True):
        assert side.describe()[0] == modules
        for before, after in zip(parameters, side.describe()[1], strict=True):
            np.testing.assert_array_equal(before.values, after.values)
        again = side.repeat("0", inputs, {}, how)
        assert gap(again, plain[side is two]) == 0


def test_the_padding_id_of_an_embedding_is_repaired_in_paddle(rng):
    one, two = sides(lambda nn: nn.Embedding(7, 4), lambda nn: nn.Embedding(7, 4, padding_idx=2), rng)
    inputs = {"0": np.array([[1, 2, 0], [2, 2, 6]])}
    how = Run(inputs)
    plain = [side.repeat("0", inputs, {}, how) for side in (one, two)]
    assert gap(*plain) > 1e-4
    assert gap(plain[0], two.repeat("0", inputs, {"padding_id": None}, how)) == 0


def test_the_mode_of_dropout_is_repaired_in_paddle(rng):
    one, two = sides(lambda nn: nn.Dropout(0.25), lambda nn: nn.Dropout(0.25, mode="downscale_in_infer"), rng)
    inputs = {"0": rng.standard_normal((BATCH, SIZE))}
    how = Run(inputs)
    plain = one.repeat("0", inputs, {}, how)
    assert gap(plain, two.repeat("0", inputs, {"scale_at": "training"}, how)) == 0
    assert one.repeat("0", inputs, {"scale_at": "evaluation"}, how) is None
    training = Run(inputs, mode="training")  # masks depend on the calls before
    assert one.repeat("0", inputs, {}, training) is None and two.repeat("0", inputs, {}, training) is None


def test_settings_that_change_the_parameters_are_not_repaired(rng):
    one, two = sides(lambda nn: nn.Conv1d(SIZE, 4, 3), lambda nn: nn.Conv1D(SIZE, 4, 3), rng)
    inputs = {"0": rng.standard_normal((BATCH, SIZE, LENGTH))}
    for side in (one, two):
        assert side.repeat("0", inputs, {"kernel": (2,)}, Run(inputs)) is None
        assert side.repeat("0", inputs, {"dilation": (9,)}, Run(inputs)) is None  # wider than the input


def test_running_statistics_that_a_batch_norm_ignores_are_repaired(rng):
    one, two = sides(
        lambda nn: nn.BatchNorm1d(SIZE, 0.125, track_running_stats=False),
        lambda nn: nn.BatchNorm1D(SIZE, epsilon=0.125),
        rng,
    )
    inputs = {"0": rng.standard_normal((BATCH, SIZE))}
    how = Run(inputs)
    plain = [side.repeat("0", inputs, {}, how) for side in (one, two)]
    assert gap(*plain) > 1e-4
    assert gap(plain[0], two.repeat("0", inputs, {"running_statistics": False}, how)) < 1e-12


def test_lengths_are_given_to_a_recurrent_layer(rng):
    one, two = sides(lambda nn: nn.LSTM(SIZE, 4, batch_first=True), lambda nn: nn.LSTM(SIZE, 4), rng)
    inputs = {"0": rng.standard_normal((BATCH, LENGTH, SIZE))}
    lengths = np.array([LENGTH, 1, 3])
    found = [side.repeat("0", inputs, {}, Run(inputs), lengths) for side in (one, two)]
    assert gap(*found) < 1e-12
    assert gap(found[0], one.repeat("0", inputs, {}, Run(inputs))) > 1e-4
