"""The compiled recurrent layers against plain NumPy: right, the same bits for whoever calls, and stoppable.

Everything here runs on each build that this machine can run. `test_kernel_build.py` compiles; it tests memory too.
"""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import backends
from backends import kernels
from backends.kernels import layer
from core import spec
from core.batch import Batch
from core.engine.executor import Executor
from core.models.encoders.recurrent import CELLS, LayerSizes
from core.models.model import initial_parameters
from tests.conftest import ROOT, loaded, one_line
from tests.kernels.cases import Case, expected, random_case, random_sizes, run, run_side_by_side, same_bits, start
from tests.pairwise import pairwise

pytestmark = pytest.mark.skipif(kernels.failure() is not None, reason=f"no compiled layers: {kernels.failure()}")

DTYPES = {"float64": np.float64, "float32": np.float32}
LIMIT = {"float64": 1e-12, "float32": 2e-5}
"""Relative to the largest number of an array, or to 0.1; float32 rounds in every step."""


every_cell = pytest.mark.parametrize("cell", CELLS)


def sampled(**factors):
    """Parametrize with a pairwise sample over `factors`, the dtypes and the builds."""
    return pairwise(indirect=["target"], target=kernels.TARGETS, **factors, dtype=DTYPES)


# ---- sigmoid and tanh ----


def magnitudes(rng, dtype) -> np.ndarray:
    """Numbers of every size that the type has, most where the functions bend; both signs, zeros, the ends."""
    info = np.finfo(dtype)
    least, most = int(np.log2(info.smallest_subnormal)), info.maxexp
    anywhere = np.ldexp(rng.uniform(1, 2, 20000), rng.integers(least, most, 20000))
    bends = np.concatenate([rng.uniform(0, 30, 30000), rng.uniform(0, 2, 30000), rng.uniform(80, 800, 5000)])
    ends = [0.0, info.smallest_subnormal, info.tiny, info.eps, info.max]
    x = np.concatenate([anywhere, bends, ends]).astype(dtype)
    return np.concatenate([x, -x])


def gate_alone(rng, cell: str, dtype, x_row: int | None, biases: dict[int, float], **states) -> Case:
    """Sequences of one token, one feature, one unit, all weights 0 but 1 from x to one gate's sum."""
    x = magnitudes(rng, dtype)
    rows = {"srn": 1, "gru": 3, "lstm": 4}[cell]
    weight, bias = np.zeros((rows, 1), dtype), np.zeros(rows, dtype)
    if x_row is not None:
        weight[x_row] = 1
    for row, value in biases.items():
        bias[row] = value
    full = {name: np.full((1, len(x), 1), 0, dtype) + (x[:, None] if v == "x" else v) for name, v in states.items()}
    weights = [[weight, np.zeros((rows, 1), dtype), bias, np.zeros(rows, dtype)]]
    absent = dict.fromkeys(["h_0", "c_0", "d_output", "d_h_n", "d_c_n"])
    return Case(cell, x.reshape(-1, 1, 1), np.ones(len(x), np.int64), weights, **{**absent, **full})


ONE = 1000.0  # its sigmoid and its tanh are 1 exactly
GATES_ALONE = {
    "srn": ("tanh", "h_n", "srn", 0, {}, {}),
    "gru update": ("sigmoid", "h_n", "gru", 1, {}, {"h_0": 1}),
    "lstm input": ("sigmoid", "c_n", "lstm", 0, {2: ONE}, {}),
    "lstm forget": ("sigmoid", "c_n", "lstm", 1, {}, {"c_0": 1}),
    "lstm cell": ("tanh", "c_n", "lstm", 2, {0: ONE}, {}),
    "lstm output": ("sigmoid", "h_n", "lstm", 3, {1: ONE}, {"c_0": 100}),
    "lstm tanh of c": ("tanh", "h_n", "lstm", None, {1: ONE, 3: ONE}, {"c_0": "x"}),
}
"""How a function of x alone comes out of a layer: the gate's row, other gates' biases, initial states."""


@sampled(name=GATES_ALONE)
def test_sigmoid_and_tanh_round_to_three_units_in_the_last_place(rng, target, name, dtype):
    function, result, cell, row, biases, states = GATES_ALONE[name]
    case = gate_alone(rng, cell, DTYPES[dtype], row, biases, **states)
    found = start(case, backward=False)[1][result].ravel()
    x = case.x.ravel().astype(np.longdouble)
    with np.errstate(over="ignore", under="ignore"):
        exact = np.tanh(x) if function == "tanh" else 1 / (1 + np.exp(-x))
        unit = np.spacing(np.abs(exact).astype(DTYPES[dtype])).astype(np.longdouble)
    error = np.abs(found - exact)
    units = 3 if np.finfo(np.longdouble).eps < 1e-18 or dtype == "float32" else 4  # then the judge rounds too
    # What is below every normal number counts as zero.
    allowed = np.maximum(units * unit, 2 * np.finfo(DTYPES[dtype]).tiny)
    worst = np.argmax(error / allowed)
    assert error[worst] <= allowed[worst], (x[worst], found[worst], exact[worst], error[worst] / unit[worst])


# ---- the whole layer ----


@pairwise(cell=CELLS, dtype=DTYPES, directions=[1, 2], states=[False, True])
def test_layer_and_gradients_equal_numpy(rng, cell, dtype, directions, states):
    for _ in range(5):
        sizes = random_sizes(rng)
        case = random_case(rng, cell, DTYPES[dtype], directions, states, **sizes)
        left_out = rng.choice(["d_output", "d_h_n", "d_c_n", None])
        if states and left_out:  # without states only `d_output` comes in
            case = replace(case, **{left_out: None})
        right = expected(case)
        for target in filter(kernels.choose, kernels.TARGETS):
            found = run(case)
            assert {"output", "h_n", "d_x", "d_weight_hh_0"} <= found.keys()
            for name, array in found.items():
                difference = np.abs(array - right[name]).max()  # NaN, if any number was not written
                assert difference <= LIMIT[dtype] * max(np.abs(right[name]).max(), 0.1), (target, sizes, name)
            past = np.arange(sizes["width"]) >= case.lengths[:, None]
            assert not found["output"][past].any() and not found["d_x"][past].any()  # and NaN went in there


@every_cell
def test_long_sums_keep_their_precision(rng, target, cell):
    """Sums of 4,096 products: if they were added one after the other, rounding errors would be three times as large."""
    limit = {"srn": 4e-7, "residual_srn": 5.5e-7, "gru": 2e-7, "lstm": 1.1e-7}[cell]
    inputs, hidden = 4096, 24
    case = random_case(rng, cell, np.float32, 1, False, batch=6, width=4, inputs=inputs, hidden=hidden)
    case.x[:] = rng.normal(size=case.x.shape)
    case.weights[0][0][:] = rng.uniform(-1, 1, case.weights[0][0].shape) / np.sqrt(inputs)
    found = start(case, backward=False)[1]["output"]
    double = replace(
        case,
        x=case.x.astype(np.float64),
        weights=[[array.astype(np.float64) for array in own] for own in case.weights],
    )
    wanted = start(double, backward=False)[1]["output"]
    real = np.arange(case.x.shape[1]) < case.lengths[:, None]
    assert np.sqrt(np.square(found - wanted)[real].mean()) <= limit


@every_cell
def test_unwanted_gradients_change_no_other(rng, target, cell):
    case = random_case(rng, cell, np.float32, 2, True, **random_sizes(rng))
    whole = run(case)
    for kept in [name for name in whole if name.startswith("d_")]:
        unwanted = [name for name in whole if name.startswith("d_") and name != kept]
        assert same_bits(run(case, unwanted=tuple(unwanted)), {n: a for n, a in whole.items() if n not in unwanted})
    with_nothing_kept = start(case, backward=False)[1]
    assert same_bits(with_nothing_kept, {name: whole[name] for name in with_nothing_kept})


@sampled(cell=CELLS)
def test_vanishing_gradients_are_flushed_to_zero(rng, target, cell, dtype):
    """Not in denormal numbers, over which processors take a hundred times as long; on every thread."""
    sizes = {"batch": 6, "width": 400 if dtype == "float32" else 3000, "inputs": 9, "hidden": 40}
    case = random_case(rng, cell, DTYPES[dtype], 1, True, **sizes)
    case.lengths[:] = sizes["width"]
    case.x[:] = rng.normal(size=case.x.shape)
    for weight in case.weights[0]:
        weight *= 0.3
    if cell == "lstm":
        case.weights[0][2][40:80] -= 1.5  # forgets
    if cell == "gru":
        case.weights[0][2][40:80] -= 1.5  # takes the new state
    case = replace(case, d_output=None)
    kernels.set_threads(3)
    d_x = np.abs(run(case)["d_x"])
    tiny = np.finfo(DTYPES[dtype]).tiny
    assert not ((d_x > 0) & (d_x < tiny)).any()
    if cell != "residual_srn":  # whose state keeps what it was
        assert (d_x[:, 0] == 0).all() and (d_x[:, -1] > 0).any()


# ---- the same bits ----


def large_case(rng, cell: str, dtype: str, directions: int, states: bool) -> Case:
    """Enough work that threads are used; sizes that no vector divides."""
    case = random_case(rng, cell, DTYPES[dtype], directions, states, batch=13, width=40, inputs=69, hidden=101)
    gates = len(case.weights[0][0])
    assert 2 * case.lengths.sum() * gates * (69 + 101) > 4e6
    return case


@sampled(cell=CELLS, directions=[1, 2], states=[False, True])
def test_results_do_not_depend_on_threads(rng, target, cell, dtype, directions, states):
    case = large_case(rng, cell, dtype, directions, states)
    found = {}
    for count in (1, 2, 3, 16, 64):
        kernels.set_threads(count)
        found[count] = run(case)
        assert same_bits(found[count], found[1]), count
    if sys.platform == "linux":
        assert len(list(Path("/proc/self/task").iterdir())) >= 64  # they were there


@sampled(cell=CELLS, threads=[5, 16, 64, 100])
def test_results_of_a_batch_do_not_depend_on_many_threads(rng, target, cell, dtype, threads):
    """A batch of a recipe's size, whose sequences are dealt to more threads than there are cores."""
    case = random_case(rng, cell, DTYPES[dtype], 2, True, batch=32, width=25, inputs=130, hidden=65)
    assert 2 * 2 * case.lengths.sum() * len(case.weights[0][0]) * (130 + 65) > 4e6
    kernels.set_threads(1)
    right = run(case)
    kernels.set_threads(threads)
    for _ in range(3):
        assert same_bits(run(case), right)


@sampled(cell=CELLS)
def test_rows_do_not_depend_on_the_batch(rng, target, cell, dtype):
    """In another order of the batch, and alone."""
    case = random_case(rng, cell, DTYPES[dtype], 2, True, **{**random_sizes(rng), "batch": 11})
    kernels.set_threads(3)
    whole = run(case)
    for rows in [rng.permutation(11), *([row] for row in range(11))]:
        rows = np.array(rows)
        found = run(case.rows(rows))
        for name in ("output", "d_x"):
            assert found[name].tobytes() == whole[name][rows].tobytes()
        for name in ("h_n", "c_n", "d_h_0", "d_c_0"):
            assert name not in found or found[name].tobytes() == whole[name][:, rows].tobytes()


def test_two_python_threads_do_not_interfere(rng, target):
    cases = [large_case(rng, cell, dtype, 2, True) for cell, dtype in (("lstm", "float32"), ("gru", "float64"))]
    kernels.set_threads(2)
    alone = [run(case) for case in cases]
    ready, wrong = threading.Barrier(2), []

    def work(number):
        ready.wait()
        for _ in range(30):
            if not same_bits(run(cases[number]), alone[number]):
                wrong.append(number)

    workers = [threading.Thread(target=work, args=[number]) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


# ---- numbers that are none ----


@sampled(cell=CELLS, value=[np.nan, np.inf, -np.inf])
def test_nan_and_infinity_stay_in_their_row_and_direction(rng, target, cell, dtype, value):
    """From the step on where they enter. Of an infinity the limits of sigmoid and tanh come out."""
    sizes = {**random_sizes(rng), "batch": 9, "width": 7}
    case = random_case(rng, cell, DTYPES[dtype], 2, False, **sizes)
    clean = start(case, backward=False)[1]
    x, touched = case.x.copy(), np.zeros((9, 7, 2), bool)
    for row in rng.choice(9, 4, replace=False):
        t = rng.integers(case.lengths[row])
        x[row, t, rng.integers(sizes["inputs"])] = value
        touched[row, t : case.lengths[row], 0] = touched[row, : t + 1, 1] = True
    case = replace(case, x=x)
    found = start(case, backward=False)[1]
    touched = np.repeat(touched, sizes["hidden"], axis=-1)
    assert np.array_equal(found["output"][~touched], clean["output"][~touched])
    if np.isnan(value):
        assert np.isnan(found["output"][touched]).all()
    else:
        with np.errstate(invalid="ignore"):  # of its way back nothing is used
            right = expected(replace(case, d_output=None))["output"]
        assert np.abs(found["output"] - right).max() <= LIMIT[dtype]


# ---- how it is called ----


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")  # nothing is wrong when it is forgotten
@pytest.mark.parametrize("shape, hidden", [([0, 3, 2], 4), ([3, 0, 2], 4), ([3, 2, 0], 4), ([3, 2, 4], 0)])
def test_empty_sizes_are_refused(shape, hidden):
    with pytest.raises(ValueError) as error:
        layer.Pass((LayerSizes("lstm", shape[-1], hidden, 1),), shape, True)
    assert "at least one sequence" in one_line(error)
    del error
    gc.collect()


def test_second_backward_pass_is_refused(rng):
    case = random_case(rng, "lstm", np.float32, 1, False, 3, 4, 5, 6)
    one, _ = start(case)
    gradient = np.empty_like(case.x)
    wanted = {"d_output": case.d_output, "d_x": gradient}
    one.backward(**wanted)
    for again in (one, start(case, backward=False)[0]):
        with pytest.raises(RuntimeError) as error:
            again.backward(**wanted)
        assert "second backward pass" in one_line(error)


def test_memory_is_reused(rng):
    """What a pass keeps comes from the pass before it: after a way back, after none, and after being forgotten."""
    case = random_case(rng, "gru", np.float32, 2, False, 20, 30, 40, 50)
    kept = []
    for step in range(18):
        one, _ = start(case)
        kept.append(one.problem.saved)
        if step % 3 == 0:
            one.backward(d_output=case.d_output)
        elif step % 3 == 1:
            one.close()
            one.close()
        del one
    assert len(set(kept)) <= 4  # equal buffers take turns
    (first, _), (second, _) = start(case), start(case)
    assert first.problem.saved != second.problem.saved


# ---- programs of their own ----


IMPORTS = """
import os, signal, sys, threading, time
from pathlib import Path
import numpy as np
from backends import kernels
from tests.kernels.cases import *
"""


@contextlib.contextmanager
def program(code: str, *arguments: object) -> Iterator[subprocess.Popen]:
    """Python running `code` after `IMPORTS`; what it prints is read line by line. Ends with the block."""
    child = subprocess.Popen(
        [sys.executable, "-c", IMPORTS + code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


STOPPED = """
small = random_case(np.random.default_rng(1), "lstm", np.float32, 2, True, 12, 30, 60, 100)
right = run(small)
way, batch, width, hidden = sys.argv[1], 20, 4000, 1024
if way == "back":
    width = 100
weights = [[np.zeros((4 * hidden, 1), "f4"), np.zeros((4 * hidden, hidden), "f4"), *[np.zeros(4 * hidden, "f4")] * 2]]
case = Case("lstm", np.zeros((batch, width, 1), "f4"), np.full(batch, width), weights, *[None] * 5)
if way == "back":
    one, found = start(case)
    gradient = np.zeros_like(weights[0][1])
sent = []
def interrupt():
    sent.append(time.process_time())
    os.kill(os.getpid(), signal.SIGINT)
try:
    threading.Timer(0.5, interrupt).start()
    if way == "back":
        for _ in range(1000):
            one.backward(d_h_n=None, d_weight_hh=[gradient])
            one, found = start(case)
    else:
        start(case)
except KeyboardInterrupt:
    print("stopped", time.process_time() - sent[0], flush=True)
    print(same_bits(run(small), right), flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
@pytest.mark.parametrize("way", ["forth", "back"])
def test_ctrl_c_interrupts_a_long_call(way):
    with program(STOPPED, way) as child:
        word, seconds = child.stdout.readline().split()
        assert word == "stopped" and float(seconds) < 1.0
        assert child.stdout.readline() == "True\n"
        assert child.wait(30) == 0


KEPT_TO_THE_END = """
case = random_case(np.random.default_rng(1), "lstm", np.float32, 1, False, 3, 4, 5, 6)
kept, _ = start(case)
kernels._load = None
del kept
"""


def test_pass_that_outlives_its_module_is_freed():
    """Which of the two the interpreter clears first at exit is open: after Ctrl-C it was the module."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS + KEPT_TO_THE_END], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


FORKS = """
kernels.set_threads(3)
case = random_case(np.random.default_rng(int(sys.argv[1])), "lstm", np.float32, 2, True, 13, 40, 69, 101)
before = run(case)
child = os.fork()
if child == 0:
    signal.alarm(20)
    same = all(same_bits(run(case), before) for _ in range(5))
    has_threads = sys.platform != "linux" or len(list(Path("/proc/self/task").iterdir())) == 3
    os._exit(0 if same and has_threads else 1)
status = os.waitpid(child, 0)[1]
print(status, same_bits(run(case), before), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fork_after_threads_computes_the_same(rng):
    with program(FORKS, rng.integers(1 << 31)) as child:
        assert child.stdout.read().split() == ["0", "True"]


# ---- models side by side ----


@sampled(cell=CELLS, directions=[1, 2])
def test_stacked_models_equal_single_models(rng, target, cell, dtype, directions):
    """Weights, sequences, states and gradients of their own; with any number of threads."""
    sizes = random_sizes(rng)
    cases = [random_case(rng, cell, DTYPES[dtype], directions, True, **sizes) for _ in range(4)]
    alone = [run(case) for case in cases]
    for threads in (1, 3):
        kernels.set_threads(threads)
        together = run_side_by_side(cases)
        for number, found in enumerate(alone):
            assert found.keys() == together.keys()
            assert same_bits({name: array[number] for name, array in together.items()}, found), (threads, number)


def test_stacked_models_need_equal_numbers_of_sequences():
    with pytest.raises(ValueError, match="7 sequences for 2 models"):
        layer.Pass((LayerSizes("lstm", 2, 4, 1, 2),), [7, 3, 2], True)


@pytest.mark.parametrize("name", backends.NAMES)
def test_ctrl_c_within_a_framework_backward(name, monkeypatch):
    """It came while Python, not the library, was at work within the framework's backward."""
    backend = loaded(name)
    model, training = spec.Experiment().model, spec.Experiment().training
    model = model.model_copy(update={"embedding": spec.Embedding(vocab_size=9, dim=3)})
    engine = backend.Engine(model, training, initial_parameters(model, 0, "float32"), Executor("cpu", "fast"))

    def pressed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(layer.Pass, "backward", pressed)
    with pytest.raises(KeyboardInterrupt):
        engine.train_step(Batch(np.array([[2, 3]]), np.array([2]), {"label": np.array([1])}), 0, 0.1)
