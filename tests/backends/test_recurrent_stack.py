"""Layers of `fast` in one autograd function: the bits of one function per layer, and no memory that stays."""

from __future__ import annotations

import gc
import importlib

import numpy as np
import pytest

import backends
from backends import kernels
from backends.kernels import layer
from core import spec
from core.batch import Batch
from core.models.encoders.recurrent import CELLS
from tests.conftest import loaded
from tests.pairwise import pairwise

pytestmark = pytest.mark.skipif(kernels.failure() is not None, reason=f"no compiled layers: {kernels.failure()}")

LAYERS, B, L, IN, H = 3, 6, 7, 5, 9


class Stack:
    """An encoder of several layers of one framework, and its results on a batch."""

    def __init__(self, name: str, rng, cell: str = "gru", bidirectional: bool = True, models: int | None = None, **own):
        self.name, self.runtime = name, loaded(name).runtime
        module = importlib.import_module(f"backends.{name}.encoders.recurrent")
        self.no_dropout = importlib.import_module(f"backends.{name}.dropout").no_dropout
        self.device, dtype = self.runtime.native_device("cpu"), own.pop("dtype", "float32")
        native = dtype if name == "paddle" else getattr(importlib.import_module(name), dtype)
        options = {"cell": cell, "hidden_size": H, "num_layers": LAYERS, "bidirectional": bidirectional, **own}
        self.encoder = module.RecurrentEncoder(spec.RecurrentEncoder(**options), IN, native, "fast", models)
        self.weights = self.encoder.named()
        for weight in self.weights.values():
            self.set(weight, rng.normal(size=tuple(weight.shape)).astype(dtype) * 0.4)
        self.x = self.tensor(rng.normal(size=(B, L, IN)).astype(dtype))
        self.factor = self.tensor(rng.normal(size=(B, L, H * (1 + bidirectional))).astype(dtype))
        lengths = np.array([1, L, 2, 5, L, 1])
        self.inputs = self.runtime.Inputs(Batch(np.zeros((B, L), np.int64), lengths, {}), dtype, self.device)

    def tensor(self, array):
        return self.runtime.to_tensor(array, self.device)

    def set(self, weight, array) -> None:
        if self.name == "torch":
            weight.data.copy_(self.tensor(array))
        else:
            weight.set_value(array)

    def wants(self, tensor, gradient: bool) -> None:
        setattr(tensor, *(("requires_grad", gradient) if self.name == "torch" else ("stop_gradient", not gradient)))

    def forward(self, dropout=None):
        return self.encoder(self.x, self.inputs, dropout or self.no_dropout)

    def results(self) -> list[np.ndarray | None]:
        """Return the outputs of all layers, then the gradients of x and the weights."""
        tensors = [self.x, *self.weights.values()]
        for tensor in tensors:
            if self.name == "torch":
                tensor.grad = None
            else:
                tensor.clear_gradient(set_to_zero=False)
        encoded = self.forward()
        (encoded.blocks[0].values * self.factor).sum().backward()
        found = [*encoded.layers.values(), *(tensor.grad for tensor in tensors)]
        return [None if tensor is None else self.runtime.to_numpy(tensor) for tensor in found]


def same(one: list, other: list) -> None:
    assert len(one) == len(other)
    for mine, its in zip(one, other, strict=True):
        assert (mine is None) == (its is None)
        assert mine is None or mine.tobytes() == its.tobytes()


@pairwise(
    name=backends.NAMES,
    cell=CELLS,
    bidirectional=[False, True],
    models=[None, 2],
    dtype=["float32", "float64"],
    wanted=["all", "x", "weights", "some", "upper layers"],
)
def test_stack_has_the_bits_of_its_layers(rng, name, cell, bidirectional, models, dtype, wanted):
    stack = Stack(name, rng, cell, bidirectional, models, dtype=dtype)
    stack.wants(stack.x, wanted in ("all", "x"))
    for weight_name, weight in stack.weights.items():
        some = rng.integers(2) or weight_name == f"encoder.weight_hh_l{LAYERS - 1}"
        own = {"x": False, "some": bool(some), "upper layers": "_l0" not in weight_name}
        stack.wants(weight, own.get(wanted, True))
    assert stack.encoder.stack is not None
    together = stack.results()
    stack.encoder.stack = None
    same(together, stack.results())


@pytest.mark.parametrize("name", backends.NAMES)
def test_stack_is_not_used_with_an_operation_between_layers(name, rng):
    assert Stack(name, rng, residual=True, bidirectional=False).encoder.stack is None
    stack, places = Stack(name, rng, dropout=0.5), []

    def dropout(x, place, rate):
        places.append((place, rate))
        return x

    stack.forward(dropout)
    assert places == [(f"encoder.l{number}", 0.5) for number in range(LAYERS - 1)]


@pytest.mark.parametrize("name", backends.NAMES)
@pytest.mark.parametrize("backward", [False, True])
def test_graph_is_freed_with_its_output(name, backward, rng):
    """An autograd function that keeps its own output is never freed in Paddle, unless backward runs."""
    stack = Stack(name, rng)
    for weight in stack.weights.values():
        stack.wants(weight, True)
    output = stack.forward().blocks[0].values
    if backward:
        output.sum().backward()
    del output
    gc.collect()
    assert not [found for found in gc.get_objects() if isinstance(found, layer.Pass)]


def test_saved_tensors_that_moved_are_read_where_they_are(rng):
    """Hooks of autograd may pack saved tensors, to the disk or another device."""
    stack = Stack("torch", rng)
    torch = importlib.import_module("torch")
    right = stack.results()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor.clone(), lambda tensor: tensor.clone()):
        same(stack.results(), right)


def test_second_backward_pass_of_a_stack_is_refused(rng):
    """Paddle ends the process when the graph of any operation written in Python is run backwards twice."""
    stack = Stack("torch", rng)
    loss = stack.forward().blocks[0].values.sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="second backward pass"):
        loss.backward()
