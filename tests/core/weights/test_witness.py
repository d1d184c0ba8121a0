"""Witnesses: logits of the user's own model, and the candidates that compute them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import tasks.port.__main__ as program
from backends import weight_files
from core.errors import UserError
from core.weights.witness_logits import check_witness
from tasks.port import verify
from tests.conftest import Done, loaded, one_line, run_main

TORCH = """
import torch
from torch import nn

class Reviews(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(30, 6, padding_idx=0)
        self.rnn = nn.GRU(6, 4, batch_first=True, bidirectional=True)
        self.hidden = nn.Linear(8, 8)
        self.classify = nn.Linear(8, 3)

    def forward(self, ids{arguments}):
        outputs, _ = self.rnn(self.words(ids))
        return (self.classify({activation}(self.hidden(outputs.{pool}))), outputs)

def needs(x): return None
def other(): return 3
broken = 3
"""
PADDLE = """
import paddle
from paddle import nn

class Linear(nn.Layer):
    '''The layout [out, in] of paddle.compat.nn.Linear.'''
    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = self.create_parameter([outputs, inputs])
        self.bias = self.create_parameter([outputs])
    def forward(self, x):
        return x @ self.weight.T + self.bias

class Reviews(nn.Layer):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(30, 6, padding_idx=0)
        self.rnn = nn.LSTM(6, 4, direction="bidirect")
        self.hidden = {linear}(8, 8)
        self.classify = nn.Linear(8, 8)

    def forward(self, ids, lengths=None):
        _, (last, _) = self.rnn(self.words(ids), sequence_length=lengths)
        features = paddle.concat([last[0], last[1]], axis=1)
        return self.classify(paddle.tanh(self.hidden(features)))
"""


def call(*argv: object) -> Done:
    return run_main(program.main, *argv)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Without rung 2, which is slow next to what these tests look at."""
    monkeypatch.setattr(verify, "compare_gradients", lambda *_: [])


def torch_file(folder: Path, activation: str = "torch.relu", pool: str = "mean(1)", arguments: str = "") -> Path:
    """A model of TORCH with random weights, saved; its class in own.py."""
    loaded("torch")
    from backends.torch.framework import torch

    text = TORCH.replace("{activation}", activation).replace("{pool}", pool).replace("{arguments}", arguments)
    (folder / "own.py").write_text(text)
    namespace: dict = {}
    exec(text, namespace)
    torch.save(namespace["Reviews"]().state_dict(), folder / "my.pt")
    return folder / "my.pt"


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize(("pool", "shown"), [("mean(1)", "mean"), ("amax(1)", "max")])
def test_choices_are_found_by_the_class(activation, pool, shown, tmp_path):
    source = torch_file(tmp_path, f"torch.{activation}", pool)
    done = call(source, "--to", "safetensors", "--against", f"{tmp_path}/own.py:Reviews")
    assert done.code == 0, done
    assert f"pooling: {shown}; hidden activation: {activation}; padding: padded positions count as tokens" in done.out
    assert "run      forward(ids) of " in done.out
    assert "the same model: 16 texts, largest difference" in done.out.splitlines()[-1]


def test_the_certificate(tmp_path):
    source, out = torch_file(tmp_path), tmp_path / "my.safetensors"
    assert call(source, "--to", "safetensors", "--against", f"{tmp_path}/own.py:Reviews", "--draw", 5).code == 0
    record = json.loads((tmp_path / "my.safetensors.certificate.json").read_text())
    for role, path in (("source", source), ("written", out), ("witness", tmp_path / "own.py")):
        assert record["files"][role]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record["seed"] == 5 and record["choices"]["pooling"] == "mean" and record["versions"]["torch"]
    assert record["figures"]["relative difference"] < 1e-5 < record["figures"]["relative difference of the second best"]
    assert len(record["mapping"]) == 13 and record["claim"].startswith("the same model: 16 texts")
    page = (tmp_path / "my.safetensors.certificate.html").read_text()
    assert record["claim"] in page and record["files"]["source"]["sha256"] in page and "<script" not in page


@pytest.mark.parametrize("change", ["activation", "bias"])
def test_another_model_ends_with_1_and_names_the_nearest(change, tmp_path):
    """A GELU, which no candidate has, and a logit that is 0.01 too large."""
    source = torch_file(tmp_path, "torch.nn.functional.gelu" if change == "activation" else "torch.relu")
    if change == "bias":
        own = tmp_path / "own.py"
        own.write_text(own.read_text().replace("), outputs)", ") + 0.01, outputs)"))
    done = call(source, "--to", "safetensors", "--against", f"{tmp_path}/own.py:Reviews")
    assert done.code == 1 and "nearest  largest difference" in done.out and "same model" not in done.out
    assert "failed   no candidate computes the logits of" in done.out.splitlines()[-1]
    assert not (tmp_path / "my.safetensors").exists()


def test_a_linear_layer_in_the_other_layout_is_found(tmp_path):
    """[out, in] in a Paddle file, square: what `paddle.compat.nn.Linear` stores."""
    paddle = loaded("paddle").framework.paddle
    for linear, shown in (("Linear", "[out, in]"), ("nn.Linear", "[in, out]")):
        own, source = tmp_path / "own.py", tmp_path / "my.pdparams"
        own.write_text(PADDLE.replace("{linear}", linear))
        namespace: dict = {}
        exec(own.read_text(), namespace)
        paddle.save(namespace["Reviews"]().state_dict(), str(source))
        out = tmp_path / f"{linear}.safetensors"
        done = call(source, "--to", "safetensors", "--out", out, "--against", f"{own}:Reviews")
        assert done.code == 0, done
        assert f"linear layers: hidden {shown}, classify [in, out]" in done.out
        assert "pooling: last; hidden activation: tanh; padding: real tokens only" in done.out
        written = weight_files.reader("safetensors").read_state(out).arrays["head.hidden.weight"]
        stored = weight_files.reader("paddle").read_state(source).arrays["hidden.weight"]
        assert np.array_equal(written, stored if linear == "Linear" else stored.T)


def test_a_file_of_logits_is_enough(tmp_path, rng):
    from core.models.model import forward
    from core.weights.convert import Choices, convert
    from tests.core.weights.test_convert import batch_for, spec, state_of, write_pdparams

    for dtype, head in (("float32", {"hidden_size": 5}), ("float64", {"one_logit": True, "classes": 2})):
        model = spec("lstm", pooling="last", activation="tanh", **head)
        state, source = state_of(model, rng, dtype=dtype), tmp_path / f"{dtype}.pdparams"
        write_pdparams(source, state)
        choices = Choices(pooling="last", activation="tanh")
        port = convert(weight_files.reader("paddle").read_state(source), "in_out", choices)
        batch = batch_for(model, rng)
        exact = {name: array.astype(np.float64) for name, array in port.arrays.items()}
        logits = forward(model, exact, batch)["logits"].astype(dtype)
        witness = tmp_path / f"{dtype}.npz"
        np.savez(witness, ids=batch.ids, lengths=batch.lengths, logits=logits)
        done = call(source, "--to", "safetensors", "--logits", witness)
        assert done.code == 0 and f"5 texts, {dtype} logits" in done.out, done
        assert "the same model: 5 texts" in done.out.splitlines()[-1]


def test_a_witness_that_cannot_decide(tmp_path, rng):
    """All texts fill the width, so both roles of padding fit."""
    from core.batch import Batch
    from core.models.model import forward
    from core.weights.convert import convert
    from tests.core.weights.test_convert import spec, state_of, write_pdparams

    model = spec("gru")
    source, witness = write_pdparams(tmp_path / "my.pdparams", state_of(model, rng)), tmp_path / "w.npz"
    port = convert(weight_files.reader("paddle").read_state(source), "in_out")
    ids = rng.integers(1, 7, (6, 5))
    np.savez(witness, ids=ids, logits=forward(port.model, port.arrays, Batch(ids, np.full(6, 5), {}))["logits"])
    done = call(source, "--to", "safetensors", "--logits", witness)
    assert done.code == 1 and "2 candidates fit, and the witness cannot tell them apart: give --padding, or" in done.out
    assert done.out.count("fits     ") == 2 and not (tmp_path / "my.safetensors").exists()
    done = call(source, "--to", "safetensors", "--logits", witness, "--padding", "tokens")
    assert done.code == 0 and "the same model: 6 texts" in done.out


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("own.py", "expected FILE:CLASS"),
        ("none.py:Reviews", "expected FILE:CLASS"),
        ("own.py:Nothing", "no class or function Nothing"),
        ("own.py:broken", "no class or function broken"),
        ("own.py:needs", "needs() raised TypeError"),
        ("own.py:other", "got int, expected a module of"),
        ("bad.py:Reviews", "its import raised SyntaxError"),
        ("own.py:Small", "words.weight is [9, 6] in the class and [30, 6] in the file"),
        ("own.py:More", "more.weight, more.bias not in the file"),
        ("own.py:Raises", "forward(ids) raised ValueError: not today"),
        ("own.py:Third", "got forward(ids, mask, extra), expected forward(ids) or forward(ids, lengths)"),
        ("own.py:Text", "forward(ids) returned str, expected a tensor"),
        ("own.py:Noisy", "two runs of forward(ids) on the same texts differ: make it deterministic"),
    ],
)
def test_classes_that_cannot_be_run_are_one_line(target, says, tmp_path):
    source = torch_file(tmp_path)
    with (tmp_path / "own.py").open("a") as file:
        file.write("""
class Small(Reviews):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(9, 6)
class More(Reviews):
    def __init__(self):
        super().__init__()
        self.more = nn.Linear(2, 2)
class Raises(Reviews):
    def forward(self, ids): raise ValueError("not\\ntoday")
class Third(Reviews):
    def forward(self, ids, mask, extra): return 0
class Noisy(Reviews):
    def forward(self, ids): return nn.functional.dropout(super().forward(ids)[0])
class Text(Reviews):
    def forward(self, ids): return "x"
""")
    (tmp_path / "bad.py").write_text("def")
    done = call(source, "--to", "safetensors", "--against", tmp_path / target)
    assert done.code == 2 and done.err.count("\n") == 1 and says in done.err, done
    assert not (tmp_path / "my.safetensors").exists()


def test_a_second_parameter_that_is_not_the_lengths(tmp_path):
    source = torch_file(tmp_path, arguments=", labels=None")
    done = call(source, "--to", "safetensors", "--against", f"{tmp_path}/own.py:Reviews")
    assert done.code == 0 and "run      forward(ids) of" in done.out, done


def test_logits_that_cannot_be_read_are_one_line(tmp_path):
    source, bad = torch_file(tmp_path), tmp_path / "w.npz"
    np.save(tmp_path / "w.npy", np.ones(3))
    np.savez(tmp_path / "part.npz", ids=np.ones((2, 2), int))
    for data in (b"", b"PK\x03\x04", b"x" * 99, (tmp_path / "w.npy").read_bytes()):
        bad.write_bytes(data)
        done = call(source, "--to", "safetensors", "--logits", bad)
        assert done.code == 2 and "w.npz: cannot be read as .npz" in done.err and done.err.count("\n") == 1, done
    done = call(source, "--to", "safetensors", "--logits", tmp_path / "part.npz")
    assert done.code == 2 and "no array logits: expected ids [B, L], lengths [B] and logits [B, C]" in done.err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ids": np.ones(3, int)}, "got ids int64 [3], expected integers [B, L]"),
        ({"ids": np.ones((2, 3))}, "got ids float64 [2, 3]"),
        ({"lengths": np.array([1])}, "expected integer lengths [2]"),
        ({"lengths": np.array([1, 4])}, "got lengths 1 to 4, expected 1 to 3"),
        ({"logits": np.ones((2, 3), np.float16)}, "logits of dtype float16"),
        ({"logits": np.ones((3, 3))}, "got logits [3, 3], expected [2, C]"),
        ({"logits": np.full((2, 3), np.nan)}, "NaN or infinity"),
        ({"logits": np.full((2, 3), 9.0)}, "logits differ by at most 0.0e+00 between 2 texts"),
    ],
)
def test_wrong_witnesses_are_one_line(change, says):
    arrays = {"ids": np.ones((2, 3), int), "lengths": np.array([1, 3]), "logits": np.eye(2, 3)}
    check_witness(*arrays.values(), "w.npz")
    with pytest.raises(UserError) as error:
        check_witness(*(arrays | change).values(), "w.npz")
    assert says in one_line(error)


def test_one_wrong_array_fits_no_candidate(rng):
    """Each array in turn is 1 % larger than the one that computed the logits, or has its gates in another order."""
    from core.models.model import forward
    from core.weights.choices import Choices
    from core.weights.convert import convert
    from core.weights.state_dict import StateDict
    from core.weights.witness import Space, search
    from tests.core.weights.test_convert import batch_for, spec, state_of

    model = spec("gru", pooling="max", activation="tanh", hidden_size=8, classes=8)
    state = state_of(model, rng)
    port = convert(StateDict("my.pdparams", state), "in_out", Choices(pooling="max", activation="tanh"))
    batch = batch_for(model, rng)
    logits = forward(model, port.arrays, batch)["logits"]
    witness = check_witness(batch.ids, batch.lengths, logits, "w.npz")
    layouts = ("in_out", "out_in")
    fits = search(Space(StateDict("my.pdparams", state), layouts, Choices()), witness)
    assert len(fits) == 3 * 2 * 2 * 8 and fits[0].within(witness) and not fits[1].within(witness)
    wrong = {name: array * 1.01 for name, array in state.items()}
    wrong["rnn.weight_hh_l0"] = np.roll(state["rnn.weight_hh_l0"], model.encoder.hidden_size, axis=0)
    for name, array in wrong.items():
        found = search(Space(StateDict("my.pdparams", {**state, name: array}), layouts, Choices()), witness)
        assert not found[0].within(witness), name
