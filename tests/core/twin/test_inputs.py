"""Inputs drawn from a description."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import UserError
from core.twin.inputs import dropout_uniform, loss_weights, parse_inputs
from tests.conftest import one_line


@pytest.fixture
def seed(rng) -> int:
    return int(rng.integers(2**31))


def test_inputs_have_type_shape_and_range(seed):
    texts = ["ids=int[40,9]:50", "spans=int[400]:3..5", "x=float[4,9,16]", "mask=mask[40,9]", "lengths=lengths[4]:9"]
    found = parse_inputs(texts, seed)
    assert {name: (array.dtype.name, array.shape) for name, array in found.items()} == {
        "ids": ("int64", (40, 9)),
        "spans": ("int64", (400,)),
        "x": ("float64", (4, 9, 16)),
        "mask": ("bool", (40, 9)),
        "lengths": ("int64", (4,)),
    }
    assert found["ids"].min() >= 0 and found["ids"].max() < 50
    assert found["ids"][0, 0] == 49 and found["ids"][-1, -1] == 0
    assert set(found["spans"].tolist()) == {3, 4, 5}
    assert set(found["mask"].ravel().tolist()) == {True, False}
    assert found["lengths"][0] == 9 and found["lengths"][-1] == 1


def test_inputs_depend_on_seed_name_and_batch_only(seed):
    first = parse_inputs(["a=float[5]", "b=float[5]"], seed)
    again = parse_inputs(["b=float[5]", "a=float[5]"], seed)
    assert np.array_equal(first["a"], again["a"]) and not np.array_equal(first["a"], first["b"])
    assert not np.array_equal(first["a"], parse_inputs(["a=float[5]"], seed + 1)["a"])
    assert not np.array_equal(first["a"], parse_inputs(["a=float[5]"], seed, batch=1)["a"])


def test_file_is_read_without_pickle(rng, tmp_path):
    array = rng.standard_normal((2, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", array)
    np.save(tmp_path / "n.npy", np.array([1, 2], dtype=np.int32))
    found = parse_inputs([f"x={tmp_path}/x.npy", f"n={tmp_path}/n.npy"], 0)
    assert found["x"].dtype == np.float64 and np.array_equal(found["x"], array)
    assert found["n"].dtype == np.int64
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object))
    for name in ("o", "missing"):
        with pytest.raises(UserError, match=r"numpy\.save") as error:
            parse_inputs([f"x={tmp_path}/{name}.npy"], 0)
        assert one_line(error)


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["ids"], "NAME=DESCRIPTION"),
        (["=int[3]:2"], "NAME=DESCRIPTION"),
        (["ids=int[3]"], "need a range"),
        (["ids=int[3]:5..4"], "empty"),
        (["ids=long[3]:5"], "expected int"),
        (["ids=float[3", "x=float[2]"], "expected int"),
        (["n=lengths[2,3]:5"], "one size"),
        (["n=lengths[3]:0"], "at least 1"),
        (["x=float[2]", "x=float[3]"], "given twice"),
    ],
)
def test_a_wrong_description_is_one_line(texts, says):
    with pytest.raises(UserError, match=says) as error:
        parse_inputs(texts, 0)
    assert texts[-1].partition("=")[0] in one_line(error)


def test_random_numbers_of_loss_and_dropout(seed):
    weights = loss_weights((3, 4), seed, 0)
    assert weights.shape == (3, 4) and np.array_equal(weights, loss_weights((3, 4), seed, 0))
    assert not np.array_equal(weights, loss_weights((3, 4), seed, 1))
    uniform = dropout_uniform((50,), seed, 2)
    assert uniform.min() >= 0 and uniform.max() < 1
    assert not np.array_equal(uniform, dropout_uniform((50,), seed, 3))
