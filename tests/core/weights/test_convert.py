"""`tasks.port`: a classifier of one framework's own layers, in the other's own layers, gives the same logits."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import pickle
import re
import shlex
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import backends
import tasks.port.__main__ as program
from backends import weight_files
from core.batch import Batch
from core.errors import UserError
from core.models.model import Model, forward, initial_parameters, parameter_table
from core.parity.instances import random_batch
from core.spec.experiment import Experiment, replace
from core.train.run_folder import RunFolder
from core.train.state import TrainingState
from core.weights import paddle_files, safe_pickle
from core.weights.budget import Budget
from core.weights.convert import Choices, convert
from core.weights.state_dict import StateDict
from tasks.port import verify
from tests.conftest import ROOT, Done, fresh_rng, loaded, run_main
from tests.core.weights.modules import NAMES, OWN, Names
from tests.pairwise import pairwise

LIMIT = {"float64": 1e-12, "float32": 2e-6}
PAGE = ROOT / "docs" / "weights.md"


def call(*argv: object) -> Done:
    return run_main(program.main, *argv)


def refused(*argv: object) -> str:
    """The one line with which the program refused."""
    done = call(*argv)
    assert done.code == 2, done
    assert done.err.count("\n") == 1 and done.err.startswith("error: "), done.err
    return done.err.removeprefix("error: ").strip()


def spec(cell: str = "lstm", layers: int = 1, both: bool = True, **head: object) -> Model:
    changes = {
        "model.embedding.vocab_size": 7,
        "model.embedding.dim": 3,
        "model.encoder.cell": cell,
        "model.encoder.hidden_size": 4,
        "model.encoder.num_layers": layers,
        "model.encoder.bidirectional": both,
        **{f"model.head.{name}": value for name, value in {"classes": 3, **head}.items()},
    }
    return replace(Experiment(), changes).model


def batch_for(model: Model, rng: np.random.Generator) -> Batch:
    return random_batch(Experiment().model_copy(update={"model": model}), rng)


def options(model: Model) -> list[str]:
    return ["--pooling", model.head.pooling, "--activation", model.head.activation]


def read(path: Path, model: Model):
    """The file as a port, with the choices of `model`."""
    reader = weight_files.reader(weight_files.kind_of(path))
    choices = Choices(model.head.pooling, model.head.activation)
    return convert(reader.read_state(path), reader.LINEAR_LAYOUT, choices)


def own(name: str, model: Model, dtype: str, **settings):
    loaded(name)
    return OWN[name](model, dtype, **settings)


@pytest.fixture
def quick(monkeypatch):
    """Without rung 2, which is slow next to what these tests look at."""
    monkeypatch.setattr(verify, "compare_gradients", lambda *_: [])


# The decisive test: the other framework's own layers, loaded from the written file, give the same logits.

POOLINGS = ("last", "mean", "max", "max_mean", "last_max_mean")
HEADS = (
    {},
    {"hidden_size": 5, "activation": "relu"},
    {"hidden_size": 5, "activation": "tanh"},
    {"classes": 2, "one_logit": True},
    {"hidden_size": 4, "classes": 4},
    {"classes": 8},
)


@pairwise(
    source=OWN,
    target=(*OWN, "safetensors"),
    cell=("srn", "gru", "lstm"),
    layers=(1, 2),
    both=(False, True),
    pooling=POOLINGS,
    head=range(len(HEADS)),
    dtype=LIMIT,
)
def test_layers_of_the_other_framework_give_the_same_logits(
    source, target, cell, layers, both, pooling, head, dtype, tmp_path, rng, quick
):
    model = spec(cell, layers, both, pooling=pooling, **HEADS[head])
    author = own(source, model, dtype)
    author.randomise(rng)
    before, after = tmp_path / f"a{author.suffix}", tmp_path / f"b{weight_files.SUFFIXES[target][0]}"
    author.save(before)
    batch = batch_for(model, rng)
    wanted = author.logits(batch)
    assert wanted.dtype == dtype
    if target in OWN:
        loaded(target)
    done = call(before, "--to", target, "--out", after, *options(model))
    assert done.code == 0, done
    port = read(after, model)
    assert port.model == model and {array.dtype.name for array in port.arrays.values()} == {dtype}
    exact = {name: array.astype(np.float64) for name, array in port.arrays.items()}
    scale = max(1.0, np.abs(wanted).max())
    assert np.abs(forward(model, exact, batch)["logits"] - wanted).max() <= LIMIT[dtype] * scale
    if target in OWN:
        other = own(target, model, dtype)
        other.randomise(rng)
        other.load(after)
        assert np.abs(other.logits(batch) - wanted).max() <= LIMIT[dtype] * scale


@pytest.mark.parametrize(("source", "target"), [("torch", "paddle"), ("paddle", "torch")])
def test_conversion_there_and_back_is_bit_exact(source, target, tmp_path, rng, quick):
    model = spec("gru", 2, True, hidden_size=8)  # F = 8: a square hidden layer
    author = own(source, model, "float32")
    author.randomise(rng)
    there, back = own(target, model, "float32"), own(source, model, "float32")
    author.save(tmp_path / f"a{author.suffix}")
    assert call(tmp_path / f"a{author.suffix}", "--to", target).code == 0
    there.load(tmp_path / f"a{there.suffix}")
    there.save(tmp_path / f"b{there.suffix}")
    assert call(tmp_path / f"b{there.suffix}", "--to", source).code == 0
    back.load(tmp_path / f"b{back.suffix}")
    batch = batch_for(model, rng)
    assert back.logits(batch).tobytes() == author.logits(batch).tobytes()


def test_what_is_printed_and_the_whole_proof(backend, tmp_path, rng):
    model = spec("lstm", 1, True, pooling="last", hidden_size=8, classes=2, one_logit=True)
    author = own(backend.NAME, model, "float32")
    author.randomise(rng)
    path = tmp_path / f"my{author.suffix}"
    author.save(path)
    done = call(path, "--to", "safetensors", "--draw", 7)
    assert done.code == 0, done
    assert "embedding 7 x 3, 1 x bidirectional LSTM 4, mean pooling, hidden layer 8 (relu), one logit" in done.out
    for line in (
        r"emb\.weight +embedding\.weight +\[7, 3\]",
        r"rnn\.weight_hh_l0_reverse +encoder\.weight_hh_l0_reverse +\[16, 4\]",
        r"fc2\.weight +head\.weight +\[1, 8\]",
        r"assumed +layout \[.*\] of fc1.weight, .*: it is square",
        "assumed +mean pooling, which the weights do not determine",
        "assumed +relu after fc1, which the weights do not determine",
        "assumed +the single output of fc2 is the logit of class 1 of two",
        f"written +{re.escape(str(tmp_path / 'my.safetensors'))}",
        "read +my.safetensors read back is bit-identical",
        r"repeat with --draw 7\)",
        rf"{backend.NAME} ~ reference +float64 .* pass",
        rf"{backend.NAME} ~ reference +float32 .* pass",
        rf"converted 13 arrays: .*{backend.NAME}.* and the NumPy reference compute the same with the converted weights",
        "not checked: your model's own forward; give --against FILE:CLASS or --logits FILE\n$",
    ):
        assert re.search(line, done.out), (line, done.out)
    assert "rung 1" in done.out and "rung 2" in done.out and "same model" not in done.out


def test_a_failed_proof_ends_with_1(backend, tmp_path, rng, monkeypatch):
    author = own(backend.NAME, spec(), "float64")
    author.randomise(rng)
    path = tmp_path / f"my{author.suffix}"
    author.save(path)
    honest = backend.Engine.activations
    monkeypatch.setattr(backend.Engine, "activations", lambda *a: {k: v + 1e-3 for k, v in honest(*a).items()})
    done = call(path, "--to", "safetensors")
    assert done.code == 1 and "compute different results with the converted weights" in done.out


def test_a_file_that_reads_differently_ends_with_1(tmp_path, rng, monkeypatch):
    path = write_pdparams(tmp_path / "my.pdparams", state_of(spec(), rng))
    honest = weight_files.safetensors_files.write_state
    wrong = {"head.bias": np.zeros(3)}
    monkeypatch.setattr(
        weight_files.safetensors_files, "write_state", lambda path, arrays: honest(path, {**arrays, **wrong})
    )
    done = call(path, "--to", "safetensors")
    assert done.code == 1 and "head.bias differs" in done.out


# State dicts by hand: what is understood without any framework.


def state_of(model: Model, rng: np.random.Generator, names: Names = NAMES, dtype: str = "float64") -> dict:
    """A state dict in Paddle's layout, [in, out], without second names."""
    modules = {"embedding": names.embedding, "encoder": names.encoder, "head.hidden": names.hidden, "head": names.head}
    found = {}
    for row in parameter_table(model):
        module, _, leaf = row.name.rpartition(".")
        values = rng.normal(0.0, 0.35, row.shape).astype(dtype)
        linear = module.startswith("head") and values.ndim == 2
        found[f"{modules[module]}.{leaf}"] = np.ascontiguousarray(values.T) if linear else values
    found[f"{names.embedding}.weight"][0] = 0.0
    return found


def write_pdparams(path: Path, tree: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(tree, protocol=protocol))
    return path


def placed(arrays: dict, **choices: str):
    return convert(StateDict("my.pdparams", dict(arrays)), "in_out", Choices(**choices))


def complaint(arrays: dict, **choices: str) -> str:
    with pytest.raises(UserError) as error:
        placed(arrays, **choices)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("order", ["C", "F"])
def test_pdparams_of_every_protocol_are_read_without_a_framework(protocol, order, tmp_path, rng):
    state = {name: np.asarray(array, order=order) for name, array in state_of(spec(), rng).items()}
    table = {name: f"lstm_0.w_{number}" for number, name in enumerate(state)}
    tree = OrderedDict(state, **{"StructuredToParameterName@@": table})
    found = paddle_files.read_state(write_pdparams(tmp_path / "my.pdparams", tree, protocol))
    assert list(found.arrays) == list(state) and not found.skipped and not found.notes
    for name, array in state.items():
        assert found.arrays[name].dtype == array.dtype and np.array_equal(found.arrays[name], array)


def test_no_framework_is_needed_for_neutral_files(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(backends, "installed", lambda name: False)
    path = write_pdparams(tmp_path / "my.pdparams", state_of(spec(), rng))
    done = call(path, "--to", "safetensors")
    assert done.code == 0 and "nothing computed, since no framework is installed" in done.out
    assert refused(tmp_path / "my.safetensors", "--to", "torch").endswith("run: pip install torch")
    assert refused(path, "--to", "paddle", "--out", tmp_path / "b.pdparams").endswith("run: pip install paddlepaddle")


@pytest.mark.parametrize(("kind", "shown"), [("float16", "float16"), ("uint16", "bfloat16")])
def test_half_precision_is_widened_with_a_note(kind, shown, tmp_path, rng):
    state = {name: array.astype(np.float32) for name, array in state_of(spec(), rng).items()}
    if kind == "uint16":
        narrow = {name: (array.view(np.uint32) >> 16).astype(np.uint16) for name, array in state.items()}
        wide = {name: (array.astype(np.uint32) << 16).view(np.float32) for name, array in narrow.items()}
    else:
        narrow = {name: array.astype(np.float16) for name, array in state.items()}
        wide = {name: array.astype(np.float32) for name, array in narrow.items()}
    found = paddle_files.read_state(write_pdparams(tmp_path / "my.pdparams", narrow))
    assert found.notes == (f"{len(state)} arrays converted from {shown} to float32",)
    assert all(np.array_equal(found.arrays[name], wide[name]) for name in state)


def test_half_precision_of_torch(tmp_path, rng):
    backend = loaded("torch")
    from backends.torch.framework import torch

    for dtype in (torch.float16, torch.bfloat16):
        tensors = {name: torch.from_numpy(array).to(dtype) for name, array in state_of(spec(), rng).items()}
        torch.save(tensors, tmp_path / "my.pt")
        found = backend.read_state(tmp_path / "my.pt")
        assert all(np.array_equal(found.arrays[name], tensors[name].float().numpy()) for name in tensors)
        assert found.notes == (f"{len(tensors)} arrays converted from {str(dtype).removeprefix('torch.')} to float32",)


def test_arrays_that_paddle_saved_in_pieces(tmp_path, rng):
    state = state_of(spec(), rng)
    big = state.pop("emb.weight")
    pieces = {"emb.weight@@.0": big.flatten()[:10], "emb.weight@@.1": big.flatten()[10:]}
    table = {"emb.weight": {"OriginShape": big.shape, "slices": list(pieces)}}
    tree = {**state, **pieces, "UnpackBigParamInfor@@": table}
    found = paddle_files.read_state(write_pdparams(tmp_path / "my.pdparams", tree, 2))
    assert np.array_equal(found.arrays["emb.weight"], big) and set(found.arrays) == {*state, "emb.weight"}
    table["emb.weight"]["slices"] = ["emb.weight@@.0", "nowhere"]
    message = refused(write_pdparams(tmp_path / "my.pdparams", tree, 2), "--to", "safetensors")
    assert "damaged, an array saved in pieces cannot be joined" in message


def test_checkpoints_that_hold_more(tmp_path, rng, quick):
    state = {f"module.{name}": ("name", array) for name, array in state_of(spec(), rng).items()}
    state["module.steps"] = np.array(3)
    tree = {"epoch": 3, "model_state_dict": state, "optimizer": {"state": {0: np.zeros(2)}}, "best": np.float64(0.9)}
    path = write_pdparams(tmp_path / "my.pdparams", tree)
    done = call(path, "--to", "safetensors")
    assert done.code == 0, done
    for line in (
        "note     state dict read from entry model_state_dict of the file",
        "note     prefix module. removed from every name",
        "skipped  epoch: 3",
        "skipped  optimizer: dict of 1",
        "skipped  best: float64 []",
        "skipped  module.steps: int64 []",
    ):
        assert line in done.out, (line, done.out)
    tree["ema"] = {name: (label, array + 1.0) for name, (label, array) in list(state.items())[:-1]}
    write_pdparams(path, tree)
    out = tmp_path / "b.safetensors"
    assert "several state dicts, model_state_dict, ema: choose" in refused(path, "--to", "safetensors", "--out", out)
    assert call(path, "--to", "safetensors", "--out", out, "--state", "ema").code == 0
    wanted = state["module.fc2.bias"][1] + 1.0
    assert np.array_equal(safetensors.numpy.load_file(out)["head.bias"], wanted)


def test_a_nested_checkpoint_of_each_framework(backend, tmp_path, rng, quick):
    model = spec("gru")
    author = own(backend.NAME, model, "float32")
    author.randomise(rng)
    state = author.module.state_dict() if hasattr(author, "module") else author.layer.state_dict()
    save = author.torch.save if hasattr(author, "torch") else author.paddle.save
    path = tmp_path / f"my{author.suffix}"
    save(
        {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}, "lr": [0.1]}, str(path)
    )
    done = call(path, "--to", "safetensors", "--pooling", "mean")
    assert done.code == 0 and "skipped  epoch: 3" in done.out and "skipped  lr: list of 1" in done.out, done
    batch = batch_for(model, rng)
    exact = {name: a.astype(np.float64) for name, a in read(tmp_path / "my.safetensors", model).arrays.items()}
    assert np.abs(forward(model, exact, batch)["logits"] - author.logits(batch)).max() <= 2e-6


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_second_names(layers, both, rng):
    state = state_of(spec(layers=layers, both=both), rng)
    doubled = paddle_files.with_cell_names(state)
    recurrent = [name for name in state if name.startswith("rnn.")]
    assert len(doubled) == len(state) + len(recurrent)
    port = placed(doubled)
    assert len(port.duplicates) == len(recurrent) and port.arrays.keys() == placed(state).arrays.keys()
    only_cells = {name: array for name, array in doubled.items() if name not in recurrent}
    other = placed(only_cells)
    assert all(np.array_equal(other.arrays[name], port.arrays[name]) for name in port.arrays)
    name = list(doubled)[-1]
    doubled[name] = doubled[name] + 1.0
    assert f"and {name} are names of one array in Paddle, but their values differ" in complaint(doubled)


def test_without_biases(rng):
    state = {name: a for name, a in state_of(spec("gru", hidden_size=5), rng).items() if not name.endswith("bias")}
    state = {name: array for name, array in state.items() if ".bias_" not in name}
    port = placed(state)
    assert not any(port.arrays[name].any() for name in port.arrays if "bias" in name)
    text = " ".join(port.assumed)
    assert "zeros for bias_ih and bias_hh, which rnn lacks" in text
    assert "zeros for the bias that fc1 lacks" in text and "zeros for the bias that fc2 lacks" in text


def test_torch_without_biases_to_paddle(tmp_path, rng, quick):
    loaded("paddle")
    model = spec("lstm", 2, True, pooling="max", hidden_size=5)
    author = own("torch", model, "float64", bias=False)
    author.randomise(rng)
    author.save(tmp_path / "my.pt")
    assert call(tmp_path / "my.pt", "--to", "paddle", *options(model)).code == 0
    other = own("paddle", model, "float64")
    other.load(tmp_path / "my.pdparams")
    batch = batch_for(model, rng)
    assert np.abs(author.logits(batch) - other.logits(batch)).max() <= 1e-12


@pytest.mark.parametrize("target", [*OWN, "safetensors"])
def test_padding_row_is_kept_for_frameworks_and_zero_in_neutral_files(target, tmp_path, rng, quick):
    if target in OWN:
        loaded(target)
    state = state_of(spec(), rng)
    state["emb.weight"][0] = 0.5
    path = write_pdparams(tmp_path / "my.pdparams", state)
    out = tmp_path / f"b{weight_files.SUFFIXES[target][0]}"
    done = call(path, "--to", target, "--out", out)
    assert done.code == 0 and "row 0 of emb.weight is not zero (largest entry 0.5)" in done.out
    port = read(out, spec())
    assert (port.pad_row == (0.5 if target in OWN else 0.0)).all() and not port.arrays["embedding.weight"][0].any()


@pytest.mark.slow
def test_neutral_names(backend, tmp_path, rng, quick):
    model = spec("lstm", 2, True, hidden_size=5, pooling="last")
    path = write_pdparams(tmp_path / "my.pdparams", state_of(model, rng, Names("words", "deep.lstm", "a", "b")))
    out = tmp_path / f"b{weight_files.SUFFIXES[backend.NAME][0]}"
    assert call(path, "--to", backend.NAME, "--out", out, "--names", "neutral", *options(model)).code == 0
    names = set(backend.read_state(out).arrays)
    assert {row.name for row in parameter_table(model)} <= names
    assert {name.partition(".")[0] for name in names} == {"embedding", "encoder", "head"}


def test_a_run_folder_goes_out(backend, tmp_path, rng, quick):
    model = spec("gru", 2, True, pooling="max")
    folder = RunFolder.create(tmp_path / "run")
    folder.write_record(Experiment().model_copy(update={"model": model}), {})
    arrays = initial_parameters(model, int(rng.integers(2**31)), "float64")
    folder.write_last(arrays, {"moment1/head.bias": np.zeros(3)}, TrainingState())
    out = tmp_path / f"b{weight_files.SUFFIXES[backend.NAME][0]}"
    done = call(folder.path / "last.safetensors", "--to", backend.NAME, "--out", out)
    assert done.code == 0, done
    assert "max pooling" in done.out and "weights do not determine" not in done.out
    assert done.out.splitlines()[-1] == f"the model is that of {folder.path / 'experiment.json'}"
    assert "skipped  optimizer/... (1 arrays): optimizer state" in done.out
    other = own(backend.NAME, model, "float64", names=Names("embedding", "encoder", head="head"))
    other.load(out)
    batch = batch_for(model, rng)
    assert np.abs(other.logits(batch) - forward(model, arrays, batch)["logits"]).max() <= 1e-12


# What cannot be placed.


def changed(state: dict, remove: str = "", **more: np.ndarray) -> dict:
    kept = {name: array for name, array in state.items() if not remove or not re.search(remove, name)}
    return {**kept, **{name.replace("__", "."): array for name, array in more.items()}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: changed(s, rnn__weight_hr_l0=np.ones((2, 4))), "rnn.weight_hr_l0 is a projection, not supported"),
        (lambda s: changed(s, deep__weight_ih_l0=np.ones((4, 4))), "several recurrent layers, rnn, deep: choose"),
        (lambda s: changed(s, r"_l0$"), "rnn.weight_hh_l0 is missing"),
        (lambda s: changed(s, r"weight_hh_l1$"), "rnn.weight_hh_l1 is missing"),
        (lambda s: changed(s, r"_l1_reverse"), "rnn.weight_ih_l1_reverse is missing"),
        (lambda s: changed(s, r"bias_ih_l1"), "rnn.bias_ih_l1 is missing"),
        (
            lambda s: changed(s, rnn__weight_ih_l1=np.ones((16, 3))),
            "got rnn.weight_ih_l1 [16, 3], expected shape [16, 8]",
        ),
        (lambda s: changed(s, rnn__weight_hh_l0=np.ones((8, 4))), "rnn.weight_hh_l0 [8, 4] fits no cell"),
        (lambda s: changed(s, rnn__weight_hh_l0=np.ones(4)), "got rnn.weight_hh_l0 [4], expected a matrix"),
        (lambda s: changed(s, "rnn", cell__weight_ih=np.ones((16, 3))), "cell.weight_hh_l0 is missing"),
        (lambda s: changed(s, "rnn"), "no recurrent layer among the float arrays"),
        (lambda s: changed(s, "emb"), "no embedding, expected a weight without a bias and with 3 columns"),
        (
            lambda s: changed(s, "emb", a__weight=np.ones((9, 3)), b__weight=np.ones((9, 3))),
            "several possible embeddings, a, b",
        ),
        (lambda s: changed(s, "fc2"), "through at most one hidden layer to the classes (none)"),
        (lambda s: changed(s, fc2__weight=np.ones((3, 8))), "give `layout` out_in, as they form one as [out, in]"),
        (lambda s: changed(s, other__weight=np.ones((8, 2))), "name them with `head` NAME"),
        (lambda s: changed(s, fc2__bias=np.ones(4)), "got fc2.bias [4], expected shape [3]"),
        (lambda s: changed(s, fc2__bias=np.full(3, np.nan)), "fc2.bias contains NaN or infinity"),
    ],
)
def test_what_would_make_another_model_is_refused(change, said, rng):
    message = complaint(change(state_of(spec(layers=2), rng)))
    assert message.startswith("my.pdparams: ") and said in message, message


def test_ambiguity_is_settled_by_options(rng):
    state = state_of(spec(hidden_size=8, classes=8), rng)
    port = placed(state)
    assert "fc1 before fc2, as in the file, although both orders fit" in port.assumed
    turned = placed(state, hidden="fc2", head="fc1")
    assert np.array_equal(turned.arrays["head.weight"], state["fc1.weight"].T)
    with pytest.raises(UserError, match="fc1 and fc2 fit in both orders: give `hidden` NAME"):
        convert(StateDict("my.safetensors", state, ordered=False), "out_in")
    state = changed(
        state_of(spec(), rng), aux__weight=np.ones((8, 2)), norm__weight=np.ones(8), more__weight=np.ones((9, 3))
    )
    port = placed(state, head="fc2", embedding="more")
    assert port.unplaced == {
        "emb.weight": "float64 [7, 3]",
        "aux.weight": "float64 [8, 2]",
        "norm.weight": "float64 [8]",
    }
    assert port.model.embedding.vocab_size == 9
    state = changed(state_of(spec(), rng), deep__weight_ih_l0=np.ones((4, 4)))
    assert placed(state, encoder="rnn").model.encoder.hidden_size == 4
    assert complaint(state, encoder="x").startswith("`encoder` x: no recurrent layer of that name")
    assert complaint(state, encoder="rnn", head="x").startswith("`head` x: no linear layer of that name")
    assert complaint(state, encoder="rnn", hidden="fc2") == "`hidden` without `head`: give both"
    assert complaint(state, encoder="rnn", embedding="x").startswith(
        "`embedding` x: no embedding of that name with 3 columns"
    )


def test_arrays_without_a_place_are_named(tmp_path, rng, quick):
    state = changed(state_of(spec(), rng), norm__weight=np.ones(8))
    path, out = write_pdparams(tmp_path / "my.pdparams", state), tmp_path / "my.safetensors"
    done = call(path, "--to", "safetensors")
    assert done.code == 1 and "unmapped norm.weight: float64 [8]" in done.out and not out.exists()
    assert "1 array without a place, norm.weight: nothing written; give --partial to leave it out" in done.out
    done = call(path, "--to", "safetensors", "--partial")
    assert done.code == 0 and out.exists() and "left out 1 array without a place, norm.weight" in done.out


def test_wrong_commands(tmp_path, rng):
    path = write_pdparams(tmp_path / "my.pdparams", state_of(spec(), rng))
    taken = tmp_path / "my.safetensors"
    taken.write_bytes(b"precious")
    assert refused(path, "--to", "safetensors") == f"{taken}: exists; choose another name with --out"
    assert taken.read_bytes() == b"precious"
    assert refused(path, "--to", "onnx") == "--to onnx: choose one of paddle, torch, safetensors"
    assert refused(path, "--to", "safetensors", "--out", tmp_path / "b.pt").endswith(
        "expected a .safetensors file for --to safetensors"
    )
    assert refused(path, "--to", "safetensors", "--pooling", "sum").startswith("--pooling sum: choose one of")
    assert refused(tmp_path / "no.pdparams", "--to", "safetensors").endswith("no.pdparams: no such file")
    assert refused(tmp_path, "--to", "safetensors").endswith("no such file")
    (tmp_path / "my.onnx").write_bytes(b"")
    assert "my.onnx: an ONNX model, expected a state dict" in refused(tmp_path / "my.onnx", "--to", "torch")
    (tmp_path / "empty").write_bytes(b"")
    assert "empty: the file is empty" in refused(tmp_path / "empty", "--to", "torch")
    assert "my.onnx: unknown suffix" in refused(path, "--to", "torch", "--out", tmp_path / "my.onnx")
    assert "no recurrent layer in --state x" in refused(
        path, "--to", "safetensors", "--out", tmp_path / "c.safetensors", "--state", "x"
    )
    assert "--to" in refused(path)


# Hostile and damaged files.


class Evil:
    """Pickles as a call of `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def evil_globals(marker: Path) -> dict[str, Evil]:
    code = f"open({str(marker)!r}, 'w')"
    return {
        f"{os.name}.system": Evil(os.system, f"touch {shlex.quote(str(marker))}"),
        "builtins.eval": Evil(eval, code),
        "builtins.exec": Evil(exec, code),
        "builtins.getattr": Evil(getattr, Evil(__import__, "os"), "system"),
        "builtins.__import__": Evil(__import__, "os"),
        "io.open": Evil(open, str(marker), "w"),
    }


EVIL = tuple(evil_globals(Path("x")))


def raw(program: str, marker: Path) -> bytes:
    return program.replace("MARKER", str(marker)).encode()


RAW = {
    "os.system": "cos\nsystem\n(S'touch MARKER'\ntR.",
    "to make an object (INST os system)": "(S'touch MARKER'\nios\nsystem\n.",
    "to make an object (PERSID x)": "Px\n.",
    "builtins.getattr": "cbuiltins\ngetattr\n(cbuiltins\n__import__\n(S'os'\ntRS'system'\ntR(S'touch MARKER'\ntR.",
    "numpy.load": "cnumpy\nload\n(S'MARKER'\ntR.",
    "codecs.encode": "ccodecs\nencode\n(S'x'\nS'rot13'\ntR.",
}


def test_the_hostile_pickles_are_live(tmp_path):
    """Or the tests below would prove nothing."""
    for number, name in enumerate((f"{os.name}.system", "builtins.eval", "io.open")):
        marker = tmp_path / f"marker-{number}"
        pickle.loads(pickle.dumps(evil_globals(marker)[name]))
        assert marker.exists()
    pickle.loads(raw(RAW["os.system"], tmp_path / "marker"))
    assert (tmp_path / "marker").exists()


def asked_for(message: str) -> str:
    """The name that was refused: in a chain of calls, the one that is made first."""
    return plain(re.search(r": unsafe, it asks to run (\S+): save a state dict, which holds arrays only$", message)[1])


def plain(name: str) -> str:
    """Python 2, whose names old protocols use, said `__builtin__`; torch says nothing."""
    return name.removeprefix("builtins.").removeprefix("__builtin__.")


@pytest.mark.parametrize(
    ("name", "nested"),
    [*zip(EVIL, itertools.cycle(("alone", "beside", "as a weight")), strict=False), (EVIL[0], "in an array")],
)
def test_hostile_pdparams_file_is_refused_and_not_run(name, nested, tmp_path, rng):
    marker = tmp_path / "marker"
    evil, state = evil_globals(marker)[name], state_of(spec(), rng)
    tree = {
        "alone": evil,
        "beside": {**state, "epoch": [{"deep": (1, evil)}]},
        "in an array": {**state, "x": np.array([evil], dtype=object)},
        "as a weight": {**state, "emb.weight": evil},
    }[nested]
    path = write_pdparams(tmp_path / "my.pdparams", tree, protocol=int(rng.integers(2, 6)))
    message = refused(path, "--to", "safetensors")
    assert message.startswith(f"{path}: ")
    if nested == "in an array":
        assert "an array of the type 'O8', which is not a plain number" in message
    else:
        assert asked_for(message) in (plain(name), "__import__")
    assert not marker.exists() and not (tmp_path / "my.safetensors").exists()


@pytest.mark.parametrize("name", RAW)
def test_hostile_opcodes_are_refused_and_not_run(name, tmp_path):
    marker = tmp_path / "marker"
    path = tmp_path / "my.pdparams"
    path.write_bytes(raw(RAW[name], marker))
    assert f"unsafe, it asks {'' if name.startswith('to ') else 'to run '}{name}" in refused(
        path, "--to", "safetensors"
    )
    assert not marker.exists()


@pytest.mark.parametrize(("name", "nested"), list(zip(EVIL, itertools.cycle((False, True)), strict=False)))
def test_hostile_torch_file_is_refused_and_not_run(name, nested, tmp_path, rng):
    loaded("torch")
    from backends.torch.framework import torch

    marker, path = tmp_path / "marker", tmp_path / "my.pt"
    evil = evil_globals(marker)[name]
    state = {key: torch.from_numpy(array) for key, array in state_of(spec(), rng).items()}
    tree = {"state_dict": state, "epoch": [{"deep": (1, evil)}]} if nested else evil
    torch.save(tree, path, _use_new_zipfile_serialization=bool(rng.integers(2)))
    message = refused(path, "--to", "safetensors")
    assert message.startswith(f"{path}: ") and asked_for(message) in (plain(name), "__import__")
    assert not marker.exists() and not (tmp_path / "my.safetensors").exists()


def good_file(kind: str, folder: Path, rng: np.random.Generator) -> Path:
    state = state_of(spec(), rng)
    path = folder / f"my{weight_files.SUFFIXES[kind][0]}"
    if kind == "paddle":
        return write_pdparams(path, state)
    weight_files.writer(kind).write_state(path, state)
    return path


def test_an_odd_escape_in_a_pickle_warns_nobody(recwarn):
    """Python deprecates it, and would say so to the user of a damaged file."""
    assert safe_pickle.load(b"S'a\\\x2e'\n.", Budget("here", 9)) == "a\\."
    assert not list(recwarn)


@pytest.mark.parametrize("kind", weight_files.SUFFIXES)
def test_damaged_files_are_one_line(kind, tmp_path, rng):
    if kind == "torch":
        loaded("torch")
    path = good_file(kind, tmp_path, rng)
    data = path.read_bytes()
    out = tmp_path / "b.safetensors"
    cuts = {0, 1, 2, 3, 8, len(data) // 2, len(data) - 100, len(data) - 1, *rng.integers(1, len(data), 12).tolist()}
    for cut in sorted(cuts):
        path.write_bytes(data[:cut])
        refused(path, "--to", "safetensors", "--out", out)
    for noise in (
        rng.bytes(1000),
        b"PK\x03\x04" + rng.bytes(99),
        b"\x80\x04" + rng.bytes(99),
        b"hello\n",
        b"\x1f\x8b\x08" * 9,
    ):
        path.write_bytes(noise)
        refused(path, "--to", "safetensors", "--out", out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ((1, (2**40,), "f4", b""), "an array of shape (1099511627776,)"),
        ((1, (3, 3), "f4", b"abcd"), "an array of shape [3, 3] needs 36 bytes but has 4"),
        ((1, (1,), "f4", b"abcdefgh"), "an array of shape [1] needs 4 bytes but has 8"),
        ((1, (-1,), "f4", b""), "an array of shape (-1,)"),
        ((1, (0,) * 40, "f4", b""), "an array without a shape"),
        ((1, (1,), "O", b"abcdefgh"), "an array of the type 'O', which is not a plain number"),
        ((1, (1,), "V8", b"abcdefgh"), "an array of the type 'V8'"),
        ((1, (1,), "f4", [1.0]), "an array that is not made of plain numbers"),
    ],
)
def test_arrays_of_absurd_sizes_and_types_are_refused(state, said, tmp_path):
    version, shape, code, contents = state
    _reconstruct = np.zeros(1).__reduce__()[0]  # what NumPy's own pickles name

    class Absurd:
        def __reduce__(self):
            kind = Evil(np.dtype, code, False, True)
            return _reconstruct, (np.ndarray, (0,), b"b"), (version, shape, kind, False, contents)

    path = write_pdparams(tmp_path / "my.pdparams", {"rnn.weight_ih_l0": Absurd()})
    assert f"damaged, or not a pickle ({said}" in refused(path, "--to", "safetensors")


NESTED = b")\x85" + b"\x85" * 200_000
"""A tuple 200,000 deep: to hash it would end the process."""
DOUBLED = b"K\x01\x85" + b"2\x86" * 60
"""A tuple of 2**60 numbers, all of them the same: to show it would take all memory."""
DTYPE, ARRAY = b"cnumpy\ndtype\n(", b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR(K\x01"
ABSURD = {
    "bytes of 2**60": (b"\x8e" + (2**60).to_bytes(8, "little") + b"x.", "damaged"),
    "bytearray of 2**40": (b"\x96" + (2**40).to_bytes(8, "little") + b"x.", "damaged"),
    "frame of 2**62": (b"\x95" + (2**62).to_bytes(8, "little") + b"}.", "no recurrent layer"),
    "memo entry 4,294,967,295": (b"}r\xff\xff\xff\xff.", "no recurrent layer"),
    "integer of 40,000 bits": (b"\x8b\x88\x13\x00\x00" + b"\x7f" * 5000 + b".", "damaged"),
    "nested key, DICT": (b"(" + NESTED + b"K\x01d.", "a tuple as a key"),
    "nested key, SETITEM": (b"}" + NESTED + b"K\x01s.", "a tuple as a key"),
    "nested key, SETITEMS": (b"}(" + NESTED + b"K\x01u.", "a tuple as a key"),
    "nested key, OrderedDict": (b"ccollections\nOrderedDict\n(](" + NESTED + b"K\x01tatR.", "a tuple as a key"),
    "nested in a set": (b"\x8f(" + NESTED + b"\x90.", "expected a state dict"),
    "nested in a frozenset": (b"(" + NESTED + b"\x91.", "expected a state dict"),
    "doubled shape": (ARRAY + DOUBLED + DTYPE + b"X\x02\x00\x00\x00f4tR\x89C\x00tb.", "an array without a shape"),
    "doubled type": (DTYPE + DOUBLED + b"tR.", "an array type of unknown form"),
    "doubled name": (DOUBLED + b"X\x01\x00\x00\x00a\x93.", "damaged"),
    "attributes of a function": (DTYPE[:-1] + b"}X\x01\x00\x00\x00aK\x01sb.", "a state for something that has none"),
    "NEWOBJ": (DTYPE[:-1] + b")\x81.", "it asks for NEWOBJ"),
    "OBJ": (b"(" + DTYPE[:-1] + b"o.", "it asks for OBJ"),
    "EXT1": (b"\x82\x01.", "it asks to make an object (EXT1 1)"),
    "BINPERSID": (b"K\x01Q.", "it asks for BINPERSID"),
    "unknown opcode": (b"\xff.", "damaged"),
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_opcodes_are_refused_at_once(name, tmp_path):
    program, said = ABSURD[name]
    path = tmp_path / "my.pdparams"
    path.write_bytes(b"\x80\x05" + program)
    assert said in refused(path, "--to", "safetensors")


def test_a_small_torch_file_cannot_claim_a_large_array(tmp_path, rng):
    loaded("torch")
    from backends.torch.framework import torch

    state = {name: torch.from_numpy(array) for name, array in state_of(spec(), rng).items()}
    state["emb.weight"] = torch.zeros(1, 1).expand(10**7, 3)
    torch.save(state, tmp_path / "my.pt")
    assert "no embedding" in refused(tmp_path / "my.pt", "--to", "safetensors")


# The example of docs/weights.md runs.


def test_the_example_of_the_documentation(tmp_path, monkeypatch, quick):
    loaded("torch")
    loaded("paddle")
    section = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    command = re.search(r"^    python -m tasks\.port (.*--against .*)$", section, flags=re.MULTILINE)[1]
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews.py").write_text(blocks[0], encoding="utf-8")
    namespace: dict = {"__name__": "__main__"}
    exec(blocks[0], namespace)
    done = call(*shlex.split(command))
    assert done.code == 0 and "the same model: 16 texts, largest difference" in done.out.splitlines()[-1], done
    assert "pooling: last; padding: real tokens only; linear layers: classify [out, in]" in done.out
    with contextlib.redirect_stdout(io.StringIO()):
        exec(blocks[1], namespace)
    paddle, torch = namespace["paddle"], namespace["torch"]
    state = paddle.load("reviews.pdparams")
    assert namespace["layer"].set_state_dict(state) == ([], [])
    rng = fresh_rng()
    lengths = np.array([1, 9, 4])
    ids = np.where(np.arange(9) < lengths[:, None], rng.integers(1, 1000, (3, 9)), 0)
    ours = namespace["layer"](paddle.to_tensor(ids), paddle.to_tensor(lengths)).numpy()
    theirs = namespace["model"](torch.from_numpy(ids), torch.from_numpy(lengths)).detach().numpy()
    assert np.abs(ours - theirs).max() <= 2e-6


@pytest.mark.parametrize("pooling", ["max_mean", "last_max_mean"])
def test_the_width_of_a_head_determines_joined_poolings(pooling, tmp_path, rng):
    """Without `--pooling`; another pooling does not fit it."""
    model = spec("gru", 1, True, pooling=pooling)
    author = own("torch", model, "float32")
    author.randomise(rng)
    author.save(tmp_path / "a.pt")
    done = call(tmp_path / "a.pt", "--to", "safetensors", "--out", tmp_path / "b.safetensors")
    assert done.code == 0 and f" {pooling} pooling (" in done.out
    assert "form no chain from the encoder's" in refused(tmp_path / "a.pt", "--to", "safetensors", "--pooling", "max")
