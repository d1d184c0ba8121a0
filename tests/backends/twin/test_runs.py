"""Runs of models as users write them: what is recorded, and that the model is as before afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import UserError
from core.twin.arrays import difference
from core.twin.contract import Run
from core.twin.failing import in_one_line
from tests.conftest import needs_both

pytestmark = needs_both
torch = pytest.importorskip("torch")
paddle = pytest.importorskip("paddle")

from torch.nn.functional import dropout as imported_dropout  # noqa: E402

from backends.paddle.twin import TwinSide as PaddleSide  # noqa: E402
from backends.torch.twin import TwinSide as TorchSide  # noqa: E402

SIDES = {"torch": TorchSide, "paddle": PaddleSide}
t, p = torch.nn, paddle.nn


class TorchTagger(t.Module):
    def __init__(self):
        super().__init__()
        self.embed = t.Embedding(20, 6)
        self.lstm = t.LSTM(6, 5, 2, batch_first=True, bidirectional=True, dropout=0.5)
        self.norm = t.BatchNorm1d(10)
        self.out = t.Linear(10, 3)
        self.scale = torch.tensor([0.5, 1.5, 2.5])  # neither parameter nor buffer

    def forward(self, ids, lengths):
        packed = t.utils.rnn.pack_padded_sequence(self.embed(ids), lengths, batch_first=True, enforce_sorted=False)
        states, (hidden, _) = self.lstm(packed)
        states, _ = t.utils.rnn.pad_packed_sequence(states, batch_first=True, total_length=ids.shape[1])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).float()
        mean = torch.bmm(mask[:, None], states)[:, 0]
        return {"logits": self.out(imported_dropout(self.norm(mean), 0.4, self.training)) * self.scale, "h": hidden}


class PaddleTagger(p.Layer):
    def __init__(self):
        super().__init__()
        self.embed = p.Embedding(20, 6)
        self.lstm = p.LSTM(6, 5, 2, direction="bidirect", dropout=0.5)
        self.norm = p.BatchNorm1D(10)
        self.out = p.Linear(10, 3)
        self.scale = paddle.to_tensor([0.5, 1.5, 2.5])

    def forward(self, ids, lengths):
        states, (hidden, _) = self.lstm(self.embed(ids), sequence_length=lengths)
        mask = (paddle.arange(ids.shape[1]) < lengths.unsqueeze(-1)).astype("float32")
        mean = paddle.bmm(mask.unsqueeze(1), states).squeeze(1)
        dropped = p.functional.dropout(self.norm(mean), 0.4, training=self.training)
        return {"logits": self.out(dropped) * self.scale, "h": hidden}


@pytest.fixture
def taggers():
    first, second = TorchSide(TorchTagger()), PaddleSide(PaddleTagger())
    second.write({own.name: own.values for own in first.describe()[1]})
    return first, second


def tagger_inputs(rng) -> dict[str, np.ndarray]:
    lengths = np.array([5, 1, 7, 3])  # the longest is shorter than the padded length
    return {"ids": rng.integers(0, 20, (4, 9)), "lengths": lengths}


def close(first, second) -> bool:
    return set(first) == set(second) and all(difference(first[key], second[key]).value < 1e-11 for key in first)


@pytest.mark.parametrize("mode", ["evaluation", "training"])
def test_recurrent_taggers_agree_and_have_the_same_calls(taggers, rng, mode):
    inputs = tagger_inputs(rng)
    one, two = (side.run(Run(inputs, mode, seed=4)) for side in taggers)
    assert [own.path for own in one.calls] == ["embed", "lstm", "norm", "out", ""] == [own.path for own in two.calls]
    for own, other in zip(one.calls[:-1], two.calls[:-1], strict=True):
        assert close(own.inputs, other.inputs) and close(own.outputs, other.outputs), own.path
        assert close(own.gradients, other.gradients), own.path
        assert own.place.startswith("test_runs.py:") and other.place.startswith("test_runs.py:")
    assert close(one.outputs, two.outputs) and close(one.gradients, two.gradients)
    assert one.loss == pytest.approx(two.loss, rel=1e-12)
    lstm = one.calls[1]
    assert lstm.lengths.tolist() == [5, 1, 7, 3] and lstm.inputs["0"].shape == (4, 7, 6)
    assert not lstm.inputs["0"][1, 1:].any() and not lstm.outputs["0"][1, 1:].any()
    assert one.dropouts == two.dropouts and len(one.dropouts) == (mode == "training")
    inner = [note for note in one.notes + two.notes if "dropout inside lstm (0.5)" in note]
    assert len(inner) == 2 * (mode == "training")
    assert any("no backward pass" in note for note in two.notes) == (mode == "evaluation")


def state(side) -> dict[str, np.ndarray]:
    return {own.name: own.values for own in side.describe()[1]}


@pytest.mark.parametrize("name", SIDES)
def test_a_run_leaves_no_trace(taggers, rng, name):
    side = taggers[list(SIDES).index(name)]
    model, inputs = side.model, tagger_inputs(rng)
    functional = t.functional if name == "torch" else p.functional
    before, dropout, astype = state(side), functional.dropout, paddle.Tensor.astype
    modes = [own.training for own in (model, model.lstm, model.norm)]
    scale = model.scale
    first = side.run(Run(inputs, "training", seed=1))
    again = side.run(Run(inputs, "training", seed=1))
    other = side.run(Run(inputs, "training", seed=2))
    assert close(first.outputs, again.outputs) and not close(first.outputs, other.outputs)
    assert {key for key, own in first.after.items() if (own != before[key]).any()} == {
        "norm.running_mean",
        "norm.running_var",
    }
    after = state(side)
    assert all(own.dtype == after[key].dtype and (own == after[key]).all() for key, own in before.items())
    assert modes == [own.training for own in (model, model.lstm, model.norm)] and model.lstm.dropout == 0.5
    assert functional.dropout is dropout and paddle.Tensor.astype is astype
    assert model.scale is scale and str(scale.dtype).endswith("float32")
    assert all(own.grad is None for own in model.parameters())
    assert torch.get_default_dtype() == torch.float32 and paddle.get_default_dtype() == "float32"
    assert not [own for own in [model, model.lstm, model.embed] if "forward" in vars(own)]


class TorchBroken(t.Module):
    def __init__(self):
        super().__init__()
        self.inner = t.Linear(3, 3)

    def forward(self, x):
        raise ZeroDivisionError(self.inner(x))


class PaddleBroken(p.Layer):
    def __init__(self):
        super().__init__()
        self.inner = p.Linear(3, 3)

    def forward(self, x):
        raise ZeroDivisionError(self.inner(x))


@pytest.mark.parametrize(("side", "model"), [(TorchSide, TorchBroken), (PaddleSide, PaddleBroken)])
def test_errors_of_the_model_pass_through_and_it_is_restored(side, model):
    own = side(model())
    before = state(own)
    with pytest.raises(ZeroDivisionError):
        own.run(Run({"x": np.ones((2, 3))}))
    after = state(own)
    assert all(array.dtype == np.float32 and (array == before[key]).all() for key, array in after.items())
    assert "forward" not in vars(own.model) and "forward" not in vars(own.model.inner)
    assert torch.get_default_dtype() == torch.float32 and paddle.get_default_dtype() == "float32"


class TorchOdd(t.Module):
    """A shared layer, a tied weight, a detached branch, kept state, an identity and a layer that is not called."""

    def __init__(self):
        super().__init__()
        self.table = t.Embedding(7, 4)
        self.layer = t.Linear(4, 4)
        self.same = self.layer
        self.drop = t.Dropout(0.5)
        self.side = t.Linear(4, 4)
        self.unused = t.Linear(4, 4)
        self.out = t.Linear(4, 7, bias=False)
        self.out.weight = self.table.weight

    def forward(self, ids, extra):
        hidden = self.same(torch.relu(self.layer(self.table(ids))))
        hidden = hidden + 2 * self.drop(hidden) + self.side(hidden.detach()).detach()
        self.last = hidden
        return self.out(hidden + extra["shift"] + extra["more"][1] + torch.rand(1))


class PaddleOdd(p.Layer):
    def __init__(self):
        super().__init__()
        self.table = p.Embedding(7, 4)
        self.layer = p.Linear(4, 4)
        self.same = self.layer
        self.drop = p.Dropout(0.5)
        self.side = p.Linear(4, 4)
        self.unused = p.Linear(4, 4)
        self.out = p.Linear(4, 7, bias_attr=False)
        self.own = self.table.weight  # the same array under another name

    def forward(self, ids, extra):
        hidden = self.same(p.functional.relu(self.layer(self.table(ids))))
        hidden = hidden + 2 * self.drop(hidden) + self.side(hidden.detach()).detach()
        self.last = hidden
        return self.out(hidden + extra["shift"] + extra["more"][1] + paddle.rand([1]))


@pytest.mark.parametrize("mode", ["evaluation", "training"])
@pytest.mark.parametrize(
    ("side", "model", "tie"),
    [(TorchSide, TorchOdd, ("table.weight", "out.weight")), (PaddleSide, PaddleOdd, ("own", "table.weight"))],
)
def test_shared_tied_detached_and_kept(rng, side, model, tie, mode):
    side = side(model())
    modules, parameters = side.describe()
    assert [own.path for own in modules] == ["", "table", "layer", "drop", "side", "unused", "out"]
    tied = {own.name: own.tied_to for own in parameters}
    assert tied[tie[1]] == tie[0] and not any(tied[name] for name in tied if name != tie[1])
    inputs = {
        "ids": rng.integers(0, 7, (2, 3)),
        "extra.shift": rng.standard_normal((2, 3, 4)),
        "extra.more.0": rng.standard_normal(4),
        "extra.more.1": rng.standard_normal(4),
    }
    found = side.run(Run(inputs, mode))
    calls = {own.path: own for own in found.calls}
    assert [own.path for own in found.calls] == ["table", "layer", "layer", "drop", "side", "out", ""]
    assert "" in calls["layer"].gradients and not calls["side"].gradients
    # In evaluation mode, dropout returns its argument; the gradient of its result is that of its path alone.
    ratio = calls["drop"].gradients[""] / calls["out"].gradients[""].dot(state(side)["out.weight"])
    assert mode == "training" or ratio == pytest.approx(np.full(ratio.shape, 2.0), rel=1e-6)
    assert "side.weight" not in found.gradients and "unused.weight" not in found.gradients
    assert {"table.weight", "out.weight", "layer.weight"} <= set(found.gradients)
    assert set(found.input_gradients) == {"extra.shift", "extra.more.1"}
    assert sorted("keeps `last`" in note or "random numbers" in note for note in found.notes) == [True, True]
    assert not hasattr(side.model, "last")


def test_masks_do_not_depend_on_the_order_of_axes(rng):
    values = rng.standard_normal((4, 9, 5))
    straight = TorchSide(t.Dropout(0.5)).run(Run({"0": values}, "training", seed=2))
    turned = PaddleSide(p.Dropout(0.5)).run(Run({"0": values.transpose(1, 0, 2)}, "training", seed=2))
    assert (straight.outputs[""] == turned.outputs[""].transpose(1, 0, 2)).all()
    assert 0.3 < (straight.outputs[""] == 0).mean() < 0.7
    unscaled = PaddleSide(p.Dropout(0.5, mode="downscale_in_infer")).run(Run({"0": values}, "training", seed=2))
    assert unscaled.outputs[""] * 2 == pytest.approx(straight.outputs[""], rel=1e-12)


def test_a_wrong_epsilon_is_seen(rng):
    inputs = {"0": rng.standard_normal((4, 6)) * 0.1}
    one = TorchSide(t.LayerNorm(6, eps=1e-5)).run(Run(inputs))
    two = PaddleSide(p.LayerNorm(6, epsilon=1e-6)).run(Run(inputs))
    assert difference(one.outputs[""], two.outputs[""]).value > 1e-6


def test_written_float64_values_are_exact_in_float64(rng):
    weight = rng.standard_normal((3, 4))
    sides = [TorchSide(t.Linear(4, 3)), PaddleSide(p.Linear(4, 3))]
    inputs = {"0": rng.standard_normal((2, 4))}
    for side in sides:
        side.write({"weight": weight, "bias": np.zeros(3)})
        expected = inputs["0"] @ weight.T
        assert side.run(Run(inputs)).outputs[""] == pytest.approx(expected, rel=1e-13)
        rounded = side.run(Run(inputs, dtype="float32")).outputs[""]
        assert rounded.dtype == np.float32 and rounded == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert sides[1].describe()[1][0].layout == "transposed"


@pytest.mark.parametrize("name", SIDES)
def test_what_cannot_be_written_is_one_line(name):
    side = SIDES[name](t.Linear(4, 3) if name == "torch" else p.Linear(4, 3))
    with pytest.raises(UserError, match=r"weight: got shape \[4, 3\], expected \[3, 4\]"):
        side.write({"weight": np.zeros((4, 3))})
    with pytest.raises(UserError, match="kernel: the .* model has no parameter of this name"):
        side.write({"kernel": np.zeros((4, 3))})
    with pytest.raises(UserError, match="mine.py:Model: got int, expected a"):
        SIDES[name](3, "mine.py:Model")


def test_masks_of_attention_are_compared_as_blocked_positions(rng):
    """PyTorch's boolean masks name what is blocked, Paddle's what is kept."""
    arrays = [rng.standard_normal((2, 5, 6)) for _ in range(3)]
    blocked = np.triu(np.ones((5, 5), np.bool_), 1)

    class TorchCausal(t.Module):
        def __init__(self):
            super().__init__()
            self.attention = t.MultiheadAttention(6, 2, batch_first=True)

        def forward(self, q, k, v):
            return self.attention(q, k, v, attn_mask=torch.from_numpy(blocked), need_weights=False)[0]

    class PaddleCausal(p.Layer):
        def __init__(self):
            super().__init__()
            self.attention = p.MultiHeadAttention(6, 2)

        def forward(self, q, k, v):
            return self.attention(q, k, v, attn_mask=paddle.to_tensor(~blocked))

    first, second = TorchSide(TorchCausal()), PaddleSide(PaddleCausal())
    second.write({own.name: own.values for own in first.describe()[1]})
    one, two = (side.run(Run({str(at): own for at, own in enumerate(arrays)})) for side in (first, second))
    assert one.calls[0].inputs["mask"].shape == (2, 2, 5, 5)
    assert (one.calls[0].inputs["mask"] == two.calls[0].inputs["mask"]).all()
    assert close(one.outputs, two.outputs)


def test_a_compiled_module_is_compared_as_a_whole(rng):
    side = TorchSide(t.Sequential(torch.jit.script(t.Sequential(t.Linear(3, 4), t.Tanh())), t.Linear(4, 2)))
    modules, parameters = side.describe()
    assert [(own.path, bool(own.note)) for own in modules] == [("", False), ("0", True), ("1", False)]
    found = side.run(Run({"0": rng.standard_normal((2, 3))}))
    assert [own.path for own in found.calls] == ["0", "1", ""]
    assert set(found.gradients) == {own.name for own in parameters} == {"0.0.weight", "0.0.bias", "1.weight", "1.bias"}
    assert all(own.dtype == torch.float32 for own in side.model.parameters())


class TorchCompiled(t.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = t.Linear(3, 4), t.Linear(4, 2)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


class PaddleCompiled(p.Layer):
    def __init__(self):
        super().__init__()
        self.first, self.last = p.Linear(3, 4), p.Linear(4, 2)

    def forward(self, x):
        return self.last(p.functional.relu(self.first(x)))


@pytest.mark.parametrize("name", SIDES)
def test_calls_inside_a_model_that_is_compiled_later_are_recorded(name, rng):
    """`torch.compile` and `paddle.jit.to_static` compile in the first call; here the model runs as it is written."""
    model = (
        torch.compile(TorchCompiled(), backend="eager")
        if name == "torch"
        else paddle.jit.to_static(PaddleCompiled(), full_graph=True)
    )
    found = SIDES[name](model).run(Run({"0": rng.standard_normal((2, 3))}))
    assert [own.path.rpartition(".")[2] for own in found.calls][:2] == ["first", "last"]
    assert all(own.gradients[""].any() for own in found.calls[:2])
    if name == "paddle":
        assert paddle.jit.dy2static.program_translator.ProgramTranslator.get_instance().enable_to_static


@pytest.mark.slow  # compiles a program
def test_a_program_of_paddle_keeps_its_number_type(tmp_path, rng):
    spec = paddle.static.InputSpec([None, 3], "float32")
    paddle.jit.save(PaddleCompiled(), str(tmp_path / "saved"), input_spec=[spec])
    side = PaddleSide(paddle.jit.load(str(tmp_path / "saved")), "saved")
    inputs = {"0": rng.standard_normal((2, 3))}
    assert "is compiled" in side.describe()[0][0].note
    assert side.run(Run(inputs, dtype="float32", backward=False)).outputs
    with pytest.raises(ValueError, match="float64") as error:
        side.run(Run(inputs))
    line = str(in_one_line(error.value))
    assert line.startswith("saved: forward failed in float64, evaluation mode: InvalidArgumentError: The type of data")
    assert "\n" not in line and line.endswith("give the class that it comes from")


@pytest.mark.parametrize("name", SIDES)
def test_gradients_of_sparse_embeddings_are_made_dense(name, rng):
    module = t.Embedding(5, 3, sparse=True) if name == "torch" else p.Embedding(5, 3, sparse=True)
    found = SIDES[name](module).run(Run({"0": np.array([1, 3, 3])}))
    assert found.gradients["weight"].shape == (5, 3)
    assert found.gradients["weight"].any(axis=1).tolist() == [False, True, False, True, False]
    assert found.gradients["weight"][3] == pytest.approx(found.calls[0].gradients[""][1:].sum(0), rel=1e-12)
