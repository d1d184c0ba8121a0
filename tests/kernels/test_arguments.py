"""A wrong argument of the compiled kernels raises an error that names it, in both frameworks."""

from __future__ import annotations

import importlib
import re

import numpy as np
import pytest

import backends
from backends import kernels
from backends.kernels import layer, training
from core.models.encoders.recurrent import GATES, WEIGHT_KINDS, LayerSizes
from core.spec.training import Adam
from tests.conftest import loaded, one_line
from tests.kernels.cases import NamedPass

pytestmark = pytest.mark.skipif(kernels.failure() is not None, reason=f"no compiled layers: {kernels.failure()}")

B, L, IN, H, V, E, F = 4, 10, 5, 16, 50, 6, 8


def numbers(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(dtype)


def integers(*values: int, dtype: str = "int64") -> np.ndarray:
    return np.array(values, dtype)


def weights_of(cell: str) -> dict[str, np.ndarray]:
    rows = GATES[cell] * H
    shapes = ((rows, IN), (rows, H), (rows,), (rows,))
    return {kind: numbers(*shape) for kind, shape in zip(WEIGHT_KINDS, shapes, strict=True)}


def refused(argument: str, call) -> None:
    """The call raises one line that begins with the name of the argument."""
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    assert re.match(rf"{argument}: got .+, expected .+", one_line(error)), one_line(error)


RIGHT = integers(10, 3, 1, 7)
X, POOLED_X, VECTORS, TABLE = numbers(B, L, IN), numbers(B, L, F), numbers(B, L, E), numbers(V, E) ** 2
IDS = np.arange(B * L).reshape(B, L)  # 0 is PAD
LENGTHS = {
    "above L": integers(10, 3, 100000, 7),
    "L + 1": integers(10, 3, 11, 7),
    "negative": integers(10, -3, 1, 7),
    "zero": integers(10, 0, 1, 7),
    "int32": integers(10, 3, 1, 7, dtype="int32"),
    "float": integers(10, 3, 1, 7, dtype="float64"),
    "too few": integers(10, 3),
    "too many": integers(10, 3, 1, 7, 2),
    "two axes": integers(10, 3, 1, 7).reshape(B, 1),
}


# ---- entry points of the frameworks


class Framework:
    """Calls of one framework's bindings, correct but for what is given."""

    def __init__(self, name: str):
        loaded(name)
        self.fast, self.optimizer, runtime = (
            importlib.import_module(f"backends.{name}.{module}") for module in ("fast", "optimizer", "runtime")
        )
        self.tensor = lambda array: runtime.to_tensor(array, runtime.native_device("cpu"))
        self.with_gradient = ("requires_grad", True) if name == "torch" else ("stop_gradient", False)

    def layer(self, cell="lstm", directions=2, lengths=RIGHT, x=X, **changes):
        weights = [changes.get(kind, weight) for kind, weight in weights_of(cell).items()] * directions
        arrays = [x, changes.get("h_0"), changes.get("c_0"), *weights[: changes.get("count")]]
        arrays = [None if array is None else self.tensor(array) for array in arrays]
        for weight in arrays[3:]:
            setattr(weight, *self.with_gradient)
        (output,), h_n, c_n = self.fast.recurrent_layers(
            (LayerSizes(cell, IN, H, directions),), self.tensor(lengths), True, arrays
        )
        return output.detach(), h_n.detach(), c_n.detach()

    def pool(self, x=POOLED_X, lengths=RIGHT, pooling="max"):
        return self.fast.PoolFunction.apply(self.tensor(x), self.tensor(lengths), pooling)

    def rows(self, ids=IDS, vectors=VECTORS, vocab_size=V):
        return self.fast.RowGradient(training.Rows(self.tensor(ids), vocab_size), self.tensor(vectors))

    def adam(self, moments=(TABLE, TABLE), steps=3, **rows):
        adam = self.optimizer.RowAdam(Adam(), self.tensor(numbers(V, E)))
        adam.load(*moments, steps)
        adam.step(0.1, self.rows(**rows))


@pytest.fixture(params=backends.NAMES, scope="module")
def framework(request):
    return Framework(request.param)


IN_FRAMEWORKS = [
    *(("layer", "lengths", {"lengths": lengths}) for lengths in LENGTHS.values()),
    ("layer", "x", {"x": numbers(B, L, IN, dtype="float16")}),
    ("layer", "x", {"x": numbers(B, L, IN - 2)}),
    ("layer", "x", {"x": numbers(B, L)}),
    ("layer", "weight_ih", {"weight_ih": numbers(4 * H, IN - 1)}),
    ("layer", "weight_hh", {"weight_hh": numbers(H, H)}),
    ("layer", "weight_hh", {"weight_hh": numbers(4 * H, H, dtype="float64")}),
    ("layer", "bias_ih", {"bias_ih": numbers(1)}),
    ("layer", "weight_ih", {"count": 4}),
    ("layer", "sizes", {"directions": 3}),
    ("layer", "h_0", {"h_0": numbers(1, B, H)}),
    ("layer", "c_0", {"cell": "gru", "c_0": numbers(2, B, H)}),
    *(("pool", "lengths", {"lengths": lengths}) for lengths in LENGTHS.values()),
    ("pool", "x", {"x": numbers(B, L)}),
    ("pool", "pooling", {"pooling": "last"}),
    ("rows", "ids", {"ids": IDS + V}),
    ("rows", "ids", {"ids": IDS - 1}),
    ("rows", "ids", {"ids": IDS.astype(np.int32)}),
    ("rows", "vectors", {"vectors": numbers(B, L - 1, E)}),
    ("rows", "vectors", {"vectors": numbers(B, L, E, dtype="float16")}),
    ("adam", "rows", {"vocab_size": 2 * V}),
    ("adam", "gradient", {"vectors": numbers(B, L, E, dtype="float64")}),
    ("adam", "gradient", {"vectors": numbers(B, L, E + 1)}),
    ("adam", "moment1", {"moments": (numbers(2, E), numbers(V, E))}),
    ("adam", "moment2", {"moments": (numbers(V, E), numbers(V, E, dtype="float64"))}),
    ("adam", "steps", {"steps": -1}),
]
"""Entry point, argument that the error names, and what is wrong."""


@pytest.mark.parametrize("entry, argument, changes", IN_FRAMEWORKS)
def test_a_wrong_argument_of_a_framework_is_refused(framework, entry, argument, changes):
    refused(argument, lambda: getattr(framework, entry)(**changes))


def test_non_contiguous_tensors_of_a_framework_are_copied(framework):
    """Transposed and strided tensors give the bits of contiguous ones."""
    x, lengths = numbers(B, L, 2 * IN), integers(10, 0, 3, 0, 1, 0, 7, 0)
    tensor = framework.tensor
    strided = {id(x): tensor(x)[:, :, ::2], id(lengths): tensor(lengths)[::2]}
    framework.tensor = lambda array: strided[id(array)] if id(array) in strided else tensor(array)
    try:
        found = framework.layer(x=x, lengths=lengths)
        pooled = framework.pool(x=x, lengths=lengths)
    finally:
        framework.tensor = tensor
    whole = {"x": np.ascontiguousarray(x[:, :, ::2]), "lengths": np.ascontiguousarray(lengths[::2])}
    for one, other in zip(found, framework.layer(**whole), strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    np.testing.assert_array_equal(pooled.numpy(), framework.pool(**whole).numpy())


def test_a_tensor_on_another_device_is_refused():
    loaded("torch")
    torch = importlib.import_module("torch")
    refused("vectors", lambda: training.Rows(IDS, V).sums(torch.empty(B, L, E, device="meta"), numbers(39, E)))


# ---- entry points on NumPy arrays


def run_pass(cell="lstm", **changes) -> None:
    """Forward and backward with some arrays changed."""
    forward = {"lengths": integers(10, 3, 1, 7), "x": numbers(B, L, IN), "output": numbers(B, L, H)}
    forward |= {kind: [weight] for kind, weight in weights_of(cell).items()}
    backward = {"d_output": numbers(B, L, H), "d_x": numbers(B, L, IN)}
    forward |= {name: array for name, array in changes.items() if not name.startswith("d_")}
    backward |= {name: array for name, array in changes.items() if name.startswith("d_")}
    one = NamedPass(LayerSizes(cell, IN, H, 1), [B, L, IN], False)
    one.forward(True, **forward)
    one.backward(**backward)


def sum_rows(ids=IDS, vectors=VECTORS, **changes) -> None:
    training.Rows(ids, V).sums(vectors, **{"values": numbers(B * L - 1, E), **changes})


def pool(**changes) -> None:
    arrays = {"x": POOLED_X, "pooled": numbers(B, F), "position": np.zeros((B, F), np.int32)}
    training.pool("max", RIGHT, **{**arrays, **changes})


def unpool(lengths=RIGHT, **changes) -> None:
    arrays = {"d_pooled": numbers(B, F), "d_x": numbers(B, L, F), "position": np.zeros((B, F), np.int32)}
    training.unpool("max", lengths, **{**arrays, **changes})


def look_up(table=TABLE, vectors=None, columns=None) -> None:
    training.Rows(IDS, V).look_up(table, numbers(B, L, E) if vectors is None else vectors, columns)


def perturb(**changes) -> None:
    arrays = {name: numbers(B, L, F) for name in ("plain", "gradient", "moved")}
    training.perturb(**{"lengths": RIGHT, **arrays, "size": 0.1, **changes})


def step(**arrays) -> None:
    adam = training.EmbeddingAdam(Adam(), (V, E), False)
    arrays = {name: numbers(V, E) for name in training.AdamArrays._fields} | arrays
    adam.step(training.AdamArrays(**arrays), training.Rows(IDS, V), numbers(B * L - 1, E), 0.1)


IN_NUMPY = [
    *((run_pass, "lengths", {"lengths": lengths}) for lengths in LENGTHS.values()),
    (run_pass, "x", {"x": numbers(B, L, 2 * IN)[..., ::2]}),
    (run_pass, "x", {"x": None}),
    (run_pass, "x", {"x": [[1.0]]}),
    (run_pass, "output", {"output": numbers(B, H)}),
    (run_pass, "output", {"output": numbers(L, B, H).swapaxes(0, 1)}),
    (run_pass, "weight_ih", {"weight_ih": None}),
    (run_pass, "weight_ih", {"weight_ih": [None]}),
    (run_pass, "weight_hh", {"weight_hh": [numbers(4 * H, H).astype(">f4")]}),
    (run_pass, "h_n", {"h_n": numbers(B, H)}),
    (run_pass, "c_n", {"cell": "gru", "c_n": numbers(1, B, H)}),
    (run_pass, "d_output", {"d_output": numbers(B, L, 2 * H)}),
    (run_pass, "d_output", {"d_output": numbers(B, L, 2 * H)[..., ::2]}),
    (run_pass, "d_h_n", {"d_h_n": numbers(1, B, H, dtype="float64")}),
    (run_pass, "d_x", {"d_x": numbers(1)}),
    (run_pass, "d_weight_hh", {"d_weight_hh": [numbers(H, H)]}),
    (sum_rows, "ids", {"ids": np.arange(2 * B * L)[::2]}),
    (sum_rows, "ids", {"ids": [1, 2]}),
    (sum_rows, "values", {"values": numbers(1, E)}),
    (sum_rows, "columns", {"columns": training.Columns(1, E)}),
    (sum_rows, "keep", {"columns": training.Columns(0, E, np.ones((B, L), bool), 0.5)}),
    (sum_rows, "keep", {"columns": training.Columns(0, E, np.ones((B, L, E), np.uint8), 0.5)}),
    (look_up, "table", {"table": numbers(V - 1, E)}),
    (look_up, "table", {"table": numbers(V, E, dtype="float64")}),
    (look_up, "vectors", {"vectors": numbers(L, E)}),
    (look_up, "columns", {"columns": training.Columns(-1, E)}),
    *((perturb, "lengths", {"lengths": lengths}) for lengths in LENGTHS.values()),
    (perturb, "plain", {"plain": numbers(B, F)}),
    (perturb, "gradient", {"gradient": numbers(B, L, F - 1)}),
    (perturb, "moved", {"moved": numbers(B, L, F, dtype="float64")}),
    (pool, "x", {"x": numbers(L, B, F).swapaxes(0, 1)}),
    (pool, "pooled", {"pooled": numbers(B)}),
    (pool, "position", {"position": np.zeros((B, F), np.int64)}),
    *((unpool, "lengths", {"lengths": lengths}) for lengths in LENGTHS.values()),
    (unpool, "d_pooled", {"d_pooled": numbers(B, F - 1)}),
    (unpool, "d_x", {"d_x": numbers(L, F)}),
    (unpool, "position", {"position": np.full((B, F), L, np.int32)}),
    (unpool, "position", {"position": np.full((B, F), -1, np.int32)}),
    (step, "weight", {"weight": numbers(2, E)}),
    (kernels.set_threads, "count", {"count": 0}),
]
"""Entry point, argument that the error names, and what is wrong."""


@pytest.mark.parametrize("call", [run_pass, look_up, sum_rows, pool, unpool, perturb, step])
def test_right_arguments_are_accepted(call):
    call()


@pytest.mark.parametrize("call, argument, changes", IN_NUMPY)
def test_a_wrong_argument_on_numpy_arrays_is_refused(call, argument, changes):
    refused(argument, lambda: call(**changes))


@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("place", range(4))
def test_a_wrong_number_of_arrays_is_refused(place, change):
    weights, d_output = list(weights_of("srn").values()), numbers(B, L, H)
    arrays = [[X, None, None, *weights], [numbers(B, L, H), None, None], [d_output, None, None], [None] * 7]
    given, right = arrays[place], len(arrays[place])
    arrays[place] = given[:change] if change < 0 else [*given, None]
    one = layer.Pass((LayerSizes("srn", IN, H, 1),), [B, L, IN], False)

    def call() -> None:
        one.forward(True, RIGHT, *arrays[:2])
        one.backward(*arrays[2:])

    name = ("bias_hh", "c_n", "d_c_n", "d_bias_hh")[place] if change < 0 else "arrays"
    with pytest.raises(ValueError, match=f"{name}: got {right + change} arrays, expected {right}"):
        call()


def test_lengths_that_change_after_forward_do_not_change_backward():
    """The saved gates have the size of the lengths in `forward`."""
    gradients = []
    for change in (False, True):
        lengths, gradient = integers(2, 3, 1, 7), np.empty((B, L, IN), np.float32)
        one = NamedPass(LayerSizes("srn", IN, H, 1), [B, L, IN], False)
        arrays = {kind: [weight] for kind, weight in weights_of("srn").items()}
        arrays |= {"x": X, "output": numbers(B, L, H)}
        one.forward(True, lengths, **arrays)
        if change:
            lengths[:] = 1000
        one.backward(d_output=numbers(B, L, H), d_x=gradient)
        gradients.append(gradient)
    np.testing.assert_array_equal(*gradients)
