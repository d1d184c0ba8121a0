"""Recordings as files: everything comes back, and damage is noticed."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import safetensors.numpy

from core.errors import UserError
from core.twin.contract import Optimization, Run
from core.twin.file import KEY, ModelRecord, read_record, write_record
from core.twin.recorded import RecordedSide
from core.twin.recording import Call, Module, Parameter, Recording, Step
from tests.conftest import one_line


def recording(rng: np.random.Generator, mode: str = "evaluation") -> Recording:
    """An embedding and a linear layer, with a scalar output, an empty array, and an array that is not contiguous."""
    weight = rng.standard_normal((3, 4)).T
    ids, hidden = rng.integers(0, 4, (2, 5)), rng.standard_normal((2, 5, 3))
    modules = (
        Module("", "Model", children=("words", "out")),
        Module("words", "Embedding", "embedding", {"rows": 4, "dim": 3, "padding_id": None, "sparse": False}),
        Module("out", "Linear", "linear", {"inputs": 3, "outputs": 2, "bias": True}, note="weight norm"),
    )
    calls = (
        Call(0, "words", {"0": ids}, {"": hidden}, gradients={"": hidden * 2}, place="mine.py:7"),
        Call(1, "out", {"0": hidden}, {"": np.zeros((0, 2))}, lengths=np.array([5, 1])),
    )
    return Recording(
        framework="torch",
        version="2.0",
        dtype="float64",
        mode=mode,
        seed=3,
        modules=modules,
        parameters=(Parameter("words.weight", "words.weight", "words", "weight", weight, tied_to=""),),
        inputs={"ids": ids},
        calls=calls,
        outputs={"1.h": np.float64(rng.random()) * np.ones(()), "0": hidden > 0},
        loss=float("nan"),
        gradients={"words.weight": weight.astype(np.float32)},
        dropouts=(("drop", (2, 5), 0.25),),
        notes=("dropout inside lstm is off",),
        seconds=0.5,
    )


def equal(first: object, second: object) -> bool:
    """Return whether two trees of dataclasses are equal, arrays with dtype."""
    if isinstance(first, np.ndarray):
        same = isinstance(second, np.ndarray) and first.dtype == second.dtype and first.shape == second.shape
        return same and np.array_equal(first, second)
    if hasattr(first, "__dataclass_fields__"):
        return type(first) is type(second) and equal(vars(first), vars(second))
    if isinstance(first, dict):
        return list(first) == list(second) and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, tuple):
        return isinstance(second, tuple) and len(first) == len(second) and all(map(equal, first, second))
    if isinstance(first, float):
        return first == second or (first != first and second != second)
    return type(first) is type(second) and first == second


def record_of(rng: np.random.Generator) -> ModelRecord:
    values = {"words.weight": rng.standard_normal((4, 3))}
    return ModelRecord(
        name="mine.py:Model",
        recordings=(recording(rng), recording(rng, "training")),
        batches=({"ids": rng.integers(0, 4, (2, 5))},),
        optimization=Optimization(betas=(0.8, 0.9), clip_norm=None),
        steps=(Step(1, 0.5, 1e-3, float("inf"), values, values),),
        drawn={"ids": "int[2,5]:4"},
    )


def test_record_comes_back_in_full(rng, tmp_path):
    path, own = tmp_path / "a.safetensors", record_of(rng)
    write_record(path, own)
    assert equal(read_record(path), own)
    before = path.read_bytes()
    write_record(path, own)
    assert path.read_bytes() == before and [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]


def test_equal_arrays_are_stored_once(rng, tmp_path):
    own = recording(rng)
    write_record(tmp_path / "a.safetensors", ModelRecord("a", (own,)))
    arrays = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    hidden = own.calls[0].outputs[""]
    assert sum(array.shape == hidden.shape and np.array_equal(array, hidden) for array in arrays.values()) == 1


@pytest.mark.parametrize("damage", ["value", "digest", "class", "newer", "other", "truncated", "pickle", "missing"])
def test_damage_is_one_line(damage, rng, tmp_path):
    path = tmp_path / "a.safetensors"
    write_record(path, record_of(rng))
    arrays = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, framework="numpy") as stream:
        tree = json.loads(stream.metadata()[KEY])
    says = "damaged"
    if damage == "value":
        arrays["a0"] = arrays["a0"] + 1
    elif damage == "digest":
        del tree["digest"]
    elif damage == "class":
        assert tree["session"]["class"] == "Session"  # the names in the format
        tree["session"]["class"] = "Path"
    elif damage == "newer":
        tree["format"], says = 9, "update seqtwin"
    if damage == "other":
        safetensors.numpy.save_file(arrays, path)
        says = "record a model first"
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-5])
    elif damage == "pickle":
        path.write_bytes(pickle.dumps(arrays))
    elif damage == "missing":
        path.unlink()
        says = "no such file"
    else:
        safetensors.numpy.save_file(arrays, path, metadata={KEY: json.dumps(tree)})
    with pytest.raises(UserError) as error:
        read_record(path)
    assert says in one_line(error) and str(path) in one_line(error)


def test_recorded_side_gives_back_what_was_recorded(rng):
    own = record_of(rng)
    side = RecordedSide(own, "a.safetensors")
    assert side.describe() == (own.recordings[0].modules, own.recordings[0].parameters)
    inputs = own.recordings[1].inputs
    assert side.run(Run(inputs, mode="training", seed=3)) is own.recordings[1]
    assert side.train(Run(inputs), list(own.batches), own.optimization) == list(own.steps)
    assert side.repeat("out", {}, {}, Run(inputs)) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda side, inputs: side.run(Run({"ids": inputs["ids"] + 1}, seed=3)), "other inputs"),
        (lambda side, inputs: side.run(Run(inputs, seed=4)), "seed 4 was not recorded"),
        (lambda side, inputs: side.run(Run(inputs, dtype="float32", seed=3)), "float32"),
        (lambda side, inputs: side.train(Run(inputs), [], side.record.optimization), "other batches"),
        (lambda side, inputs: side.train(Run(inputs), [inputs], Optimization(rate=1.0)), "another optimizer"),
        (lambda side, inputs: side.write({}), "keeps its weights"),
    ],
)
def test_recorded_side_refuses_what_was_not_recorded(change, says, rng):
    own = record_of(rng)
    with pytest.raises(UserError, match=says) as error:
        change(RecordedSide(own, "a.safetensors"), own.recordings[0].inputs)
    assert one_line(error).startswith("a.safetensors: ")
