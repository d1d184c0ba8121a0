"""`--layers`: every layer of a model is converted, compared alone, and loaded by the other framework's own class."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import tasks.port.__main__ as program
from backends import weight_files
from core.errors import UserError
from core.weights.layers import find_layers
from core.weights.state_dict import StateDict
from tests.conftest import Done, loaded, run_main

KINDS = (
    "Embedding",
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "Conv1D",
    "LayerNorm",
    "BatchNorm1D",
    "Linear",
    "Linear",
    "Linear",
)


def call(*argv: object) -> Done:
    return run_main(program.main, *argv)


def torch_layers():
    nn = loaded("torch").framework.torch.nn
    return nn.ModuleDict(
        {
            "words": nn.Embedding(9, 4),
            "gru": nn.GRU(4, 3, 2, bidirectional=True, batch_first=True),
            "lstm": nn.LSTM(4, 3, batch_first=True),
            "rnn": nn.RNN(4, 3),
            "step": nn.GRUCell(4, 3),
            "cell": nn.LSTMCell(4, 3),
            "conv": nn.Conv1d(3, 5, 2),
            "norm": nn.LayerNorm(5),
            "bn": nn.BatchNorm1d(5),
            "square": nn.Linear(5, 5),
            "proj": nn.Linear(5, 2, bias=False),
            "fc": nn.Linear(5, 3),
        }
    )


def paddle_layers():
    nn = loaded("paddle").framework.paddle.nn
    return nn.LayerDict(
        {
            "words": nn.Embedding(9, 4),
            "gru": nn.GRU(4, 3, 2, direction="bidirect"),
            "lstm": nn.LSTM(4, 3),
            "rnn": nn.SimpleRNN(4, 3),
            "step": nn.GRUCell(4, 3),
            "cell": nn.LSTMCell(4, 3),
            "conv": nn.Conv1D(3, 5, 2),
            "norm": nn.LayerNorm(5),
            "bn": nn.BatchNorm1D(5),
            "square": nn.Linear(5, 5),
            "proj": nn.Linear(5, 2, bias_attr=False),
            "fc": nn.Linear(5, 3),
        }
    )


def test_from_torch_to_paddle_and_back(tmp_path):
    model, layers = torch_layers(), paddle_layers()
    torch, paddle = loaded("torch").framework.torch, loaded("paddle").framework.paddle
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.1)
    torch.save(model.state_dict(), tmp_path / "a.pt")
    done = call(tmp_path / "a.pt", "--to", "paddle", "--layers")
    assert done.code == 0, done
    assert "converted 12 layers: each computes the same in torch and paddle, largest difference" in done.out
    assert "not checked: how your model connects the layers" in done.out.splitlines()[-1]
    table = [line.split() for line in done.out.splitlines() if " pass" in line]
    assert [row[1] for row in table] == list(KINDS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert layers.set_state_dict(paddle.load(str(tmp_path / "a.pdparams"))) == ([], [])
    x = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    for name in ("square", "proj", "fc", "norm"):
        found = layers[name](paddle.to_tensor(x)).numpy()
        assert np.abs(found - model[name](torch.from_numpy(x)).detach().numpy()).max() < 1e-6
    done = call(tmp_path / "a.pdparams", "--to", "torch", "--layers", "--out", tmp_path / "b.pt")
    assert done.code == 0, done
    back = torch.load(tmp_path / "b.pt", weights_only=True)
    torch_layers().load_state_dict(back)
    for name, tensor in model.state_dict().items():
        assert name.endswith("num_batches_tracked") or torch.equal(back[name], tensor), name


def test_layers_without_a_place_end_with_1(tmp_path):
    torch = loaded("torch").framework.torch
    loaded("paddle")
    state = {
        **torch_layers().state_dict(),
        "attention.in_proj_weight": torch.ones(6, 2),
        "scale": torch.ones(3),
        "table.weight": torch.ones(4, 6),
        "ids": torch.arange(3),
    }
    torch.save(state, tmp_path / "a.pt")
    done = call(tmp_path / "a.pt", "--to", "paddle", "--layers")
    assert done.code == 1 and not (tmp_path / "a.pdparams").exists()
    for name in ("attention.in_proj_weight: float32 [6, 2]", "scale: float32 [3]", "table.weight", "ids: int64 [3]"):
        assert f"unmapped {name}" in done.out
    assert "failed   4 arrays without a place" in done.out
    done = call(tmp_path / "a.pt", "--to", "paddle", "--layers", "--partial", "--embedding", "table")
    assert done.code == 0 and "left out 3 arrays without a place" in done.out, done
    assert "2 copied unchanged, not compared" in done.out
    written = weight_files.reader("paddle").read_state(tmp_path / "a.pdparams").arrays
    assert np.array_equal(written["attention.in_proj_weight"], np.ones((6, 2))) and written["table.weight"].shape == (
        4,
        6,
    )


def test_a_layer_that_differs_ends_with_1(tmp_path, monkeypatch):
    torch, paddle = loaded("torch").framework.torch, loaded("paddle")
    torch.save(torch_layers().state_dict(), tmp_path / "a.pt")
    honest = paddle.layer_output
    monkeypatch.setattr(paddle, "layer_output", lambda kind, *rest: honest(kind, *rest) + 1e-11 * (kind == "Conv1D"))
    done = call(tmp_path / "a.pt", "--to", "paddle", "--layers")
    assert done.code == 1 and done.out.count(" FAIL") == 1 and not (tmp_path / "a.pdparams").exists()


@pytest.mark.parametrize(
    ("shapes", "layout", "kind", "turned"),
    [
        ({"weight": (3, 5), "bias": (3,)}, "in_out", "Linear", False),  # paddle.compat.nn.Linear
        ({"weight": (5, 3), "bias": (3,)}, "in_out", "Linear", True),
        ({"weight": (5, 3), "bias": (4,)}, "in_out", None, False),
        ({"weight": (5,)}, "out_in", None, False),
        ({"weight": (5, 3), "bias": (5,), "scale": (1,)}, "out_in", None, False),
        ({"weight": (5, 3, 1, 1)}, "out_in", None, False),
        ({"weight": (5,), "bias": (5,), "running_mean": (5,), "running_var": (5,)}, "out_in", "BatchNorm1D", False),
        ({"weight_ih": (12, 2), "weight_hh": (12, 3)}, "out_in", "LSTMCell", False),
        ({"weight_ih_l0": (9, 2), "weight_hh_l0": (9, 3)}, "out_in", "GRU", False),
        ({"weight_ih_l0": (9, 2), "weight_hh_l0": (7, 3)}, "out_in", None, False),
    ],
)
def test_what_is_recognized(shapes, layout, kind, turned, rng):
    arrays = {f"x.{leaf}": rng.normal(size=shape) for leaf, shape in shapes.items()}
    layers = find_layers(StateDict("my.pt", arrays), layout)
    if kind is None:
        assert not layers.found and layers.unplaced.keys() == arrays.keys()
        return
    (layer,) = layers.found
    assert layer.kind == kind and not layers.unplaced
    for leaf in shapes:
        array = arrays[f"x.{leaf}"]
        assert np.array_equal(layer.arrays[leaf], array.T if turned and leaf == "weight" else array)


def test_flat_names_of_npz_files(tmp_path, rng):
    shapes = {"enc_emb": (9, 4), "enc_w_ih": (9, 4), "enc_w_hh": (9, 3), "fc_w": (5, 3), "fc_b": (5,)}
    arrays = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    np.savez(tmp_path / "a.npz", **arrays)
    state = weight_files.reader("npz").read_state(tmp_path / "a.npz")
    found = {(layer.name, layer.kind) for layer in find_layers(state, "out_in").found}
    assert found == {("enc_emb", "Embedding"), ("enc", "GRUCell"), ("fc", "Linear")}
    assert np.array_equal(state.arrays["enc.weight_hh"], arrays["enc_w_hh"]) and "enc_w_ih" in state.notes[-1]
    np.savez(tmp_path / "b.npz", **arrays, enc_emb_w=np.ones(2))  # two arrays would have one name
    with pytest.raises(UserError, match="no recurrent layer"):
        weight_files.reader("npz").read_state(tmp_path / "b.npz")


def test_wrong_layer_commands(tmp_path):
    torch = loaded("torch").framework.torch
    torch.save({"scale": torch.ones(3)}, tmp_path / "a.pt")
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "b.pt")
    for argv, says in (
        ((tmp_path / "b.pt", "--to", "safetensors", "--layers"), "choose one of paddle, torch"),
        ((tmp_path / "b.pt", "--to", "torch", "--layers", "--out", tmp_path / "c.pt", "--logits", "x"), "give one of"),
        ((tmp_path / "a.pt", "--to", "paddle", "--layers"), "no recurrent layer"),
    ):
        done = call(*argv)
        assert done.code == 2 and says in done.err and done.err.count("\n") == 1, done
