"""Two models in one process: all rungs, the copied weights, and pairings that the forward pass decides."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
paddle = pytest.importorskip("paddle")

from backends.paddle.twin.side import TwinSide as PaddleSide  # noqa: E402
from backends.torch.twin.side import TwinSide as TorchSide  # noqa: E402
from backends.twin import compare  # noqa: E402
from core.errors import UserError  # noqa: E402
from core.twin.compare import compare_sides  # noqa: E402
from core.twin.contract import Run  # noqa: E402
from core.twin.file import ModelRecord  # noqa: E402
from core.twin.recorded import RecordedSide  # noqa: E402

pnn, tnn = paddle.nn, torch.nn


class TorchBranches(tnn.Module):
    """Two branches of equal shapes: x [B, 4] -> [B, 2]."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.out = tnn.Linear(4, 4), tnn.Linear(4, 4), tnn.Linear(4, 2)
        self.norm = tnn.LayerNorm(4)

    def forward(self, x):
        return self.out(self.norm(torch.tanh(self.left(x)) - 2 * self.right(x)))


class PaddleBranches(pnn.Layer):
    """The same, which runs its second branch first, under other names."""

    def __init__(self, epsilon=1e-5):
        super().__init__()
        self.a, self.b, self.end = pnn.Linear(4, 4), pnn.Linear(4, 4), pnn.Linear(4, 2)
        self.scale = pnn.LayerNorm(4, epsilon=epsilon)

    def forward(self, x):
        double = 2 * self.a(x)
        return self.end(self.scale(paddle.tanh(self.b(x)) - double))


class TorchFused(tnn.Module):
    """Attention with one matrix for q, k and v: x [B, L, 8] -> [B, L, 8]."""

    def __init__(self):
        super().__init__()
        self.qkv, self.proj = tnn.Linear(8, 24), tnn.Linear(8, 8)

    def forward(self, x):
        q, k, v = (own.unflatten(-1, (2, 4)).transpose(1, 2) for own in self.qkv(x).chunk(3, -1))
        weights = torch.softmax(q @ k.mT / 2.0, -1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class PaddleSplit(pnn.Layer):
    """The same with three matrices, and another number of heads if asked."""

    def __init__(self, heads=2):
        super().__init__()
        self.attention = pnn.MultiHeadAttention(8, heads)

    def forward(self, x):
        return self.attention(x)


@pytest.fixture
def x(rng):
    return {"x": rng.standard_normal((5, 4))}


@pytest.fixture
def seed(rng):
    own = int(rng.integers(1 << 30))
    torch.manual_seed(own)
    paddle.seed(own)
    return own


def test_branches_that_run_in_another_order_are_told_apart_by_the_forward_pass(x, seed):
    found = compare(TorchBranches(), PaddleBranches(), x, seed=seed)
    found.assert_same()
    assert found.pairing.names["left.weight"] == "b.weight" and found.pairing.how["left.weight"] == "permutation"
    assert any("another order" in text for text in found.warnings)
    assert {own.rung for own in found.findings} == {0, 1, 2} and {row.mode for row in found.rows} == {
        "evaluation",
        "training",
    }


def test_a_fault_is_found_behind_an_ambiguous_pairing(x, seed):
    found = compare(TorchBranches(), PaddleBranches(epsilon=1e-3), x, seed=seed)
    assert found.first is not None and found.first.cause.setting == "epsilon" and found.first.cause.repaired
    assert found.pairing.names["right.bias"] == "a.bias"
    with pytest.raises(AssertionError, match=r"epsilon 1e-05 in PyTorch, 0\.001 in PaddlePaddle; with epsilon 1e-05"):
        found.assert_same()


def test_a_mapping_decides_without_permutations(x, seed):
    right = compare(TorchBranches(), PaddleBranches(), x, mapping={"left": "b", "right": "a"}, seed=seed)
    assert right.same and not right.pairing.ambiguous and right.pairing.how["left.weight"] == "map"
    wrong = compare(TorchBranches(), PaddleBranches(), x, mapping={"left": "a", "right": "b"}, seed=seed)
    assert not wrong.same


@pytest.mark.parametrize("to", ["torch", "paddle"])
def test_weights_are_copied_into_the_model_that_is_asked_for(x, seed, to):
    models = {"torch": TorchBranches(), "paddle": PaddleBranches()}
    before = {
        name: own.out.weight.detach().numpy().copy() if name == "torch" else own.end.weight.numpy().T.copy()
        for name, own in models.items()
    }
    compare(*models.values(), x, to=to, seed=seed).assert_same()
    source = "paddle" if to == "torch" else "torch"
    for weight in (models["torch"].out.weight.detach().numpy(), models["paddle"].end.weight.numpy().T):
        assert np.array_equal(weight, before[source]) and not np.array_equal(weight, before[to])


def test_models_with_their_own_values_are_judged_by_these(x, seed):
    one, two = TorchBranches(), PaddleBranches()
    found = compare(one, two, x, to=None, seed=seed)
    assert found.first.rung == 0 and found.first.cause.place == "parameters"
    compare(one, two, x, seed=seed)
    assert compare(one, two, x, to=None, mapping={"left": "b", "right": "a"}, seed=seed).same
    two.a.weight.set_value(two.a.weight.numpy().T.copy())
    found = compare(one, two, x, to=None, mapping={"left": "b", "right": "a"}, seed=seed)
    assert "transposed" in found.first.cause.sentence and found.first.cause.paths == {"torch": "right", "paddle": "a"}


def test_fused_projections_are_split_and_copied_both_ways(rng, seed):
    inputs = {"x": rng.standard_normal((3, 5, 8))}
    for to in ("paddle", "torch"):
        found = compare(TorchFused(), PaddleSplit(), inputs, to=to, seed=seed, optimizer="sgd", steps=2)
        found.assert_same()
        assert found.pairing.names["qkv.k.weight"] == "attention.k.weight"
        assert any("taken as q, k and v" in text for text in found.warnings)
        assert found.findings[-1].rung == 3
    found = compare(TorchFused(), PaddleSplit(heads=4), inputs, seed=seed)
    assert found.first.rung == 1


def test_a_parameter_of_one_model_alone_is_named(x, seed):
    second = PaddleBranches()
    second.end = pnn.Linear(4, 2, bias_attr=False)
    found = compare(TorchBranches(), second, x, seed=seed)
    assert found.first.rung == 0 and "`out.bias` [2] is in PyTorch only" in found.sentence()


def test_an_unused_parameter_of_one_model_is_a_warning(x, seed):
    second = PaddleBranches()
    second.pooler = pnn.Linear(3, 7)
    found = compare(TorchBranches(), second, x, seed=seed)
    found.assert_same()
    assert any("pooler.weight" in text for text in found.warnings)


def test_float32_is_judged_by_the_rounding_of_the_models(x, seed):
    found = compare(TorchBranches(), PaddleBranches(), x, dtype="float32", seed=seed)
    found.assert_same()
    assert set(found.rounding) == {"evaluation", "training"} and max(found.rounding.values()) <= 8
    found = compare(TorchBranches(), PaddleBranches(epsilon=1e-3), x, dtype="float32", seed=seed)
    assert found.first.cause.setting == "epsilon" and not found.rounding


def test_a_recording_stands_in_for_its_model(x, seed):
    side = TorchSide(TorchBranches(), "mine.py:Model")
    recordings = tuple(side.run(Run(x, mode, "float64", seed)) for mode in ("evaluation", "training"))
    recorded = RecordedSide(ModelRecord(side.name, recordings), "mine.safetensors")
    found = compare_sides(recorded, PaddleSide(PaddleBranches(1e-3)), x, seed=seed)
    assert found.names["torch"] == "mine.py:Model"
    assert found.first.cause.setting == "epsilon" and found.first.cause.repaired


def test_settings_without_an_effect_are_warnings_unless_they_are_the_cause(x, seed):
    class Dropping(TorchBranches):
        def __init__(self):
            super().__init__()
            self.norm = tnn.Sequential(self.norm, tnn.Dropout(0.2))

    class Other(PaddleBranches):
        def __init__(self):
            super().__init__()
            self.scale = pnn.Sequential(self.scale, pnn.Dropout(0.4))

    found = compare(Dropping(), Other(), x, seed=seed, modes=("evaluation",))
    assert found.same and any("rate 0.2 in PyTorch, 0.4" in text for text in found.warnings)
    found = compare(Dropping(), Other(), x, seed=seed)
    assert found.first.mode == "training" and found.first.cause.setting == "rate"
    assert not any("no effect" in text for text in found.warnings)


class PaddleSteeper(pnn.Layer):
    """Two layers; the gradient of what lies before the second is 1 + 3e-8 of what it should be."""

    def __init__(self, between):
        super().__init__()
        self.one, self.between, self.two = pnn.Linear(4, 4), between, pnn.Linear(4, 2)

    def forward(self, x):
        y = self.between(self.one(x))
        return self.two(y + 3e-8 * (y - y.detach()))


def test_small_gradient_differences_pass_only_next_to_layers_that_are_known_for_them(x, seed):
    def pair(torch_layer, paddle_layer):
        model = tnn.Sequential()
        for name, layer in (("one", tnn.Linear(4, 4)), ("between", torch_layer), ("two", tnn.Linear(4, 2))):
            model.add_module(name, layer)
        return compare(model, PaddleSteeper(paddle_layer), {"0": x["x"]}, seed=seed)

    tanh = pair(tnn.Tanh(), pnn.Tanh())
    assert tanh.first is not None and tanh.first.rung == 2
    norm = pair(tnn.LayerNorm(4), pnn.LayerNorm(4))
    assert norm.same and any("float32_inside" in text and "not isolated" in text for text in norm.warnings)


def test_two_models_of_one_framework_are_refused(x):
    side = TorchSide(TorchBranches())
    with pytest.raises(UserError, match="one of torch and one of paddle"):
        compare_sides(side, side, x)


def test_an_error_of_a_model_passes_through(x):
    class Broken(PaddleBranches):
        def forward(self, x):
            raise KeyError("of the user")

    with pytest.raises(KeyError, match="of the user"):
        compare(TorchBranches(), Broken(), x)


def test_notes_on_the_model_itself_name_it(rng):
    found = compare(torch.jit.script(tnn.Linear(4, 3)), pnn.Linear(4, 3), {"0": rng.standard_normal((2, 4))})
    assert found.same
    assert any(text.startswith("PyTorch, the model: Linear is compiled") for text in found.warnings), found.warnings
