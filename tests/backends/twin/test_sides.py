"""Sides of a comparison: equal layers of both frameworks are described, written and recorded alike."""

from __future__ import annotations

import numpy as np
import pytest

from core.twin.arrays import difference
from core.twin.contract import Run
from tests.conftest import needs_both

pytestmark = needs_both
torch = pytest.importorskip("torch")
paddle = pytest.importorskip("paddle")

from backends.paddle.twin import TwinSide as PaddleSide  # noqa: E402
from backends.torch.twin import TwinSide as TorchSide  # noqa: E402
from tests.backends.twin.layer_pairs import LAYERS, Pair  # noqa: E402

DRAWING = {"attention", "transformer", "dropout", "dropout of channels", "dropout by axis", "alpha dropout"}
NOISE = {"k.bias"}
"""The softmax cancels the gradient of the keys' bias: only rounding is left."""


def drawn_model(pair: Pair, rng: np.random.Generator):
    model = pair.torch()
    with torch.no_grad():
        for own in model.parameters():
            own.copy_(torch.as_tensor(rng.standard_normal(tuple(own.shape)) + 0.2))
    return model


def inputs_of(pair: Pair, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        str(at): rng.integers(0, pair.integers, shape) if pair.integers else rng.standard_normal(shape)
        for at, shape in enumerate(pair.shapes)
    }


def largest(first, second, but: set[str] = frozenset()) -> float:
    """The largest difference of two mappings of arrays; infinite for shapes or names that differ."""
    if set(first) != set(second):
        return float("inf")
    found = [difference(first[name], second[name]) for name in first if name.rpartition("self_attn.")[2] not in but]
    return max((float("inf") if own is None else own.value for own in found), default=0.0)


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_equal_layers_agree(name, rng):
    pair = LAYERS[name]
    first, second = TorchSide(drawn_model(pair, rng)), PaddleSide(pair.paddle())
    (ours, values), (theirs, _) = first.describe(), second.describe()
    second.write({own.name: own.values for own in values})
    for one, two in zip(ours, theirs, strict=True):
        assert (one.path, one.kind, len(one.children)) == (two.path, two.kind, len(two.children))
        settings = [{key: own.settings[key] for key in own.settings if key not in pair.differing} for own in (one, two)]
        assert settings[0] == settings[1]
    written = second.describe()[1]
    assert [(own.name, own.buffer, own.trainable) for own in values] == [
        (own.name, own.buffer, own.trainable) for own in written
    ]
    assert all(difference(one.values, two.values).value < 1e-6 for one, two in zip(values, written, strict=True))

    inputs, seed = inputs_of(pair, rng), int(rng.integers(1000))
    for mode in ("evaluation", "training"):
        one, two = (side.run(Run(inputs, mode, seed=seed)) for side in (first, second))
        assert [own.path for own in one.calls] == [own.path for own in two.calls]
        assert one.dropouts == two.dropouts and bool(one.dropouts) == (mode == "training" and name in DRAWING)
        gaps = {"outputs": largest(one.outputs, two.outputs), "loss": abs(one.loss - two.loss)}
        for own, other in zip(one.calls, two.calls, strict=True):
            gaps[f"{own.path} in"] = largest(own.inputs, other.inputs)
            gaps[f"{own.path} out"] = largest(own.outputs, other.outputs)
            gaps[f"{own.path} gradients"] = largest(own.gradients, other.gradients)
        gaps["gradients"] = largest(one.gradients, two.gradients, NOISE)
        gaps["gradients of inputs"] = largest(one.input_gradients, two.input_gradients)
        assert max(gaps.values()) < pair.limit, gaps
