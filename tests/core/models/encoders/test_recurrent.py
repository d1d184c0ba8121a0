"""One recurrent layer in every implementation, with initial and final states: rungs 1 and 2 outside of any model.

The judge is the reference's step, walked over each sequence alone, and its complex-step derivative.
"""

from __future__ import annotations

import importlib
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import backends
from backends import implementations, kernels
from core.engine.executor import Executor
from core.models.encoders.recurrent import (
    CELLS,
    FRAMEWORK_CELLS,
    GATES,
    WEIGHT_KINDS,
    RecurrentEncoder,
    direction_suffixes,
)
from core.parity.findings import widest
from core.parity.instances import random_batch, random_parameters
from core.parity.layers import GRADIENT_LIMIT, OUTPUT_LIMIT, Side, engine_of
from tasks.parity.cases import Case
from tests.conftest import INSTALLED, each_backend
from tests.pairwise import pairwise

ROOT = Path(__file__).parents[4]
STEP = 1e-30

each_implementation = pytest.mark.parametrize("implementation", implementations.IMPLEMENTATIONS)
each_cell = pytest.mark.parametrize("cell", GATES)


def instance(rng, cell: str, bidirectional: bool, dtype: str, states: bool, batch=5, longest=6, inputs=4, hidden=3):
    """An encoder of one layer, random arrays for a `LayerProbe`, and unequal lengths, 1 and `longest` among them."""
    encoder = RecurrentEncoder(cell=cell, hidden_size=hidden, bidirectional=bidirectional)
    lengths = rng.permutation([1, longest, *rng.integers(2, longest, batch - 2)])
    directions, rows = encoder.directions, GATES[cell] * hidden
    shapes = {"x": (batch, longest, inputs), "d_output": (batch, longest, encoder.output_size(inputs))}
    for suffix in direction_suffixes(bidirectional):
        shapes[f"encoder.weight_ih_l0{suffix}"] = (rows, inputs)
        shapes[f"encoder.weight_hh_l0{suffix}"] = (rows, hidden)
        shapes[f"encoder.bias_ih_l0{suffix}"] = shapes[f"encoder.bias_hh_l0{suffix}"] = (rows,)
    if states:
        parts = ("h", "c") if cell == "lstm" else ("h",)
        for part in parts:
            shapes[f"{part}_0"] = shapes[f"d_{part}_n"] = (directions, batch, hidden)
    spread = min(0.4, (inputs + hidden) ** -0.5)
    arrays = {name: rng.normal(0.0, spread, shape).astype(dtype) for name, shape in shapes.items()}
    # PAD's vector is zero, and nobody asks for a gradient there.
    for row, length in enumerate(lengths):
        arrays["x"][row, length:] = 0.0
        arrays["d_output"][row, length:] = 0.0
    return encoder, arrays, lengths.astype(np.int64)


def walk(encoder: RecurrentEncoder, arrays: dict[str, np.ndarray], lengths: np.ndarray) -> dict[str, np.ndarray]:
    """What a layer computes: each sequence alone, from its first token or its last."""
    x, kind = arrays["x"], np.result_type(*arrays.values())
    batch, width, _ = x.shape
    size, directions = encoder.hidden_size, encoder.directions
    output = np.zeros((batch, width, directions * size), kind)
    ends = {part: np.zeros((directions, batch, size), kind) for part in ("h", "c")}
    for side, suffix in enumerate(direction_suffixes(encoder.bidirectional)):
        weights = [arrays[f"encoder.{kind}_l0{suffix}"] for kind in WEIGHT_KINDS]
        for row, length in enumerate(lengths):
            h, c = (arrays[f"{part}_0"][side, row] if f"{part}_0" in arrays else np.zeros(size, kind) for part in "hc")
            for t in range(length) if side == 0 else reversed(range(length)):
                h, c = CELLS[encoder.cell](x[row, t], h, c, weights)
                output[row, t, side * size : (side + 1) * size] = h
            ends["h"][side, row], ends["c"][side, row] = h, c
    return {"output": output, "h_n": ends["h"], **({"c_n": ends["c"]} if encoder.cell == "lstm" else {})}


def exact_gradients(encoder, arrays, lengths) -> dict[str, np.ndarray]:
    """By the complex step (Squire and Trapp 1998), of every entry of every input and weight."""
    double = {name: array.astype(np.float64) for name, array in arrays.items()}

    def loss(changed) -> complex:
        found = walk(encoder, {**double, **changed}, lengths)
        return sum((found[name] * double[f"d_{name}"]).sum() for name in found if f"d_{name}" in double)

    gradients = {}
    for name, array in double.items():
        if name.startswith("d_"):
            continue
        gradients[name] = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            moved = array.astype(np.complex128)
            moved[place] += 1j * STEP
            gradients[name][place] = loss({name: moved}).imag / STEP
    return gradients


def having(cell: str) -> tuple[str, ...]:
    """Implementations that have the cell."""
    return implementations.IMPLEMENTATIONS if cell in FRAMEWORK_CELLS else implementations.SIDE_BY_SIDE


def probe(name, encoder, arrays, lengths, implementation):
    if implementation == "fast" and implementations.why_not_fast("cpu"):
        pytest.fail(f"fast cannot run here: {implementations.why_not_fast('cpu')}")
    return backends.load(name).LayerProbe(encoder, arrays, lengths, Executor("cpu", implementation))


@pairwise(cell=GATES, bidirectional=[False, True], dtype=["float64", "float32"], states=[False, True])
def test_outputs_final_states_and_gradients_equal_the_reference(cell, bidirectional, dtype, states, rng):
    """Initial states and gradients of the final ones included: every implementation in every framework."""
    encoder, arrays, lengths = instance(rng, cell, bidirectional, dtype, states)
    exact = {name: array.astype(np.float64) for name, array in arrays.items()}
    outputs, gradients = walk(encoder, exact, lengths), exact_gradients(encoder, arrays, lengths)
    if not states:
        outputs = {"output": outputs["output"]}
    for name, implementation in itertools.product(INSTALLED, having(cell)):
        side = probe(name, encoder, arrays, lengths, implementation)
        found = side.forward()
        assert {array.dtype for array in found.values()} == {np.dtype(dtype)}
        figures = widest(found, outputs, OUTPUT_LIMIT[dtype], least_scale=1.0)
        assert not figures["first"], (name, implementation, figures)
        if states and bidirectional and (name, implementation) == ("paddle", "packed"):
            with pytest.raises(
                ValueError, match="packed, bidirectional, with initial states: Paddle's gradients would be wrong"
            ):
                side.gradients()
            continue
        figures = widest(side.gradients(), {key: gradients[key] for key in side.gradients()}, GRADIENT_LIMIT[dtype])
        assert not figures["first"], (name, implementation, figures)
        assert side.gradients().keys() == gradients.keys()


@each_cell
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_fast_is_bit_identical_in_both_frameworks(cell, dtype, rng):
    """Odd sizes, and enough work for threads."""
    encoder, arrays, lengths = instance(rng, cell, True, dtype, True, batch=37, longest=21, inputs=35, hidden=50)
    if len(INSTALLED) < 2:
        pytest.skip("compares two frameworks, and one is installed")
    sides = [probe(name, encoder, arrays, lengths, "fast") for name in INSTALLED]
    for found in ([side.forward() for side in sides], [side.gradients() for side in sides]):
        for key, array in found[0].items():
            assert array.tobytes() == found[1][key].tobytes(), key


@pytest.mark.skipif("torch" not in INSTALLED, reason="torch is not installed")
@each_cell
def test_second_backward_pass_is_refused(cell, rng):
    """The fast layer keeps its gates once; a second run through them would be silently wrong. (Paddle ends the process
    when the graph of any operation written in Python is run backwards twice.)"""
    encoder, arrays, lengths = instance(rng, cell, True, "float64", False)
    side = probe("torch", encoder, arrays, lengths, "fast")
    output = side._forward()["output"]
    output.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="second backward pass"):
        output.sum().backward()


@pytest.mark.skipif("torch" not in INSTALLED, reason="torch is not installed")
def test_gradients_of_gradients_are_refused(rng):
    encoder, arrays, lengths = instance(rng, "gru", True, "float64", False)
    side = probe("torch", encoder, arrays, lengths, "fast")
    output, x = side._forward()["output"], side.tensors["x"]
    (gradient,) = importlib.import_module("torch").autograd.grad((output * output).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@each_backend
def test_saved_tensors_may_move(name, rng):
    """Hooks may keep them elsewhere and return copies, not even contiguous ones."""
    encoder, arrays, lengths = instance(rng, "lstm", True, "float32", True)
    side = probe(name, encoder, arrays, lengths, "fast")
    right, moved = side.gradients(), []

    def unpack(packed):
        transposed = packed.t() if packed.ndim == 2 else packed
        moved.append(transposed.clone().t() if packed.ndim == 2 else transposed.clone())
        return moved[-1]

    autograd = importlib.import_module(f"{name}.autograd")
    hooks = getattr(autograd, "graph", autograd).saved_tensors_hooks
    with hooks(lambda tensor: tensor.detach(), unpack):
        found = side.gradients()
    assert len(moved) >= len(right)
    for key, gradient in right.items():
        assert found[key].tobytes() == gradient.tobytes(), key


@each_backend
def test_outputs_without_gradients_have_the_bits_of_training(name, rng):
    encoder, arrays, lengths = instance(rng, "lstm", True, "float32", True)
    side = probe(name, encoder, arrays, lengths, "fast")
    found, training = side.forward(), side._forward()
    assert found.keys() == training.keys()
    for key, array in found.items():
        assert array.tobytes() == training[key].detach().numpy().tobytes(), key


@each_backend
def test_frozen_inputs_and_weights_have_no_gradient(name, rng):
    """What is not asked for is not computed, and the rest is the same."""
    encoder, arrays, lengths = instance(rng, "lstm", True, "float64", False)
    wanted = probe(name, encoder, arrays, lengths, "builtin").gradients()
    side = probe(name, encoder, arrays, lengths, "fast")
    frozen = ("x", "encoder.weight_hh_l0", "encoder.bias_ih_l0_reverse")
    for key in frozen:
        tensor = side.tensors[key]
        if hasattr(tensor, "stop_gradient"):
            tensor.stop_gradient = True
        else:
            tensor.requires_grad_(False)
    side.train()
    for key, tensor in side.tensors.items():
        if key in frozen:
            assert tensor.grad is None, key
        elif not key.startswith("d_"):
            assert widest({key: np.array(tensor.grad.numpy())}, {key: wanted[key]}, 1e-12)["first"] == "", key


INTERRUPTED = """
import os, signal, sys, threading, time
import numpy as np
import backends
from core.engine.executor import Executor
from core.spec import RecurrentEncoder
encoder = RecurrentEncoder(cell="lstm", hidden_size=256, bidirectional=False)
shapes = {"x": (64, 2000, 256), "encoder.weight_ih_l0": (1024, 256), "encoder.weight_hh_l0": (1024, 256)}
shapes |= {"d_output": (64, 2000, 256), "encoder.bias_ih_l0": (1024,), "encoder.bias_hh_l0": (1024,)}
arrays = {name: np.full(shape, 0.01, np.float32) for name, shape in shapes.items()}
probe = backends.load(sys.argv[1]).LayerProbe(encoder, arrays, np.full(64, 2000), Executor("cpu", "fast"))
sent = []
def interrupt():
    sent.append(time.process_time())
    os.kill(os.getpid(), signal.SIGINT)
PATCH
try:
    probe.train()
    print("ran to its end", time.process_time() - sent[0])
except KeyboardInterrupt:
    print("stopped", time.process_time() - sent[0])
"""
DURING = {
    "forth": "threading.Timer(0.3, interrupt).start()",
    "back": """
from backends.kernels import layer
original = layer.Pass.backward
def backward(self, *addresses):
    threading.Timer(0.3, interrupt).start()
    original(self, *addresses)
layer.Pass.backward = backward
""",
}


@pytest.mark.slow
@each_backend
@pytest.mark.parametrize("when", DURING)
def test_ctrl_c_interrupts_a_pass(name, when):
    """As a KeyboardInterrupt, after at most two CPU seconds more; a busy machine makes that longer to wait for.

    Paddle's way of wrapping what its operations raise is undone by its engine.
    """
    code = INTERRUPTED.replace("PATCH", DURING[when])
    if when == "back":
        code = code.replace("except KeyboardInterrupt:", "except (KeyboardInterrupt, OSError):")
    done = subprocess.run([sys.executable, "-c", code, name], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("stopped"), done.stdout + done.stderr
    assert float(done.stdout.split()[1]) < 2.0  # of the 4 that the whole pass takes


@each_backend
def test_ctrl_c_in_backward_leaves_a_training_step(name, rng, monkeypatch):
    """And not as an error of the framework's."""
    experiment = Case("lstm", 1, True, "mean", "index").experiment("float32")
    engine = engine_of(Side(backends.load(name), "fast"), experiment, random_parameters(experiment, rng))
    library = kernels._load()

    class Interrupted:
        def __getattr__(self, function):
            return interrupt if function == "seqtwin_backward_layers" else getattr(library, function)

    def interrupt(*_):
        raise KeyboardInterrupt

    batch = random_batch(experiment, rng)
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "_load", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.train_step(batch, 0, 0.1)
    engine.train_step(batch, 0, 0.1)
    assert np.isfinite(engine.collect()[-1].loss)
