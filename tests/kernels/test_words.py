"""The compiled kernels of word2vec: equal to the reference, in the same bits for any number of threads."""

from __future__ import annotations

import os
from dataclasses import fields, replace

import numpy as np
import pytest

import backends
from backends import kernels
from backends.kernels import words
from backends.kernels.words import Tables
from core.parity.words.instances import VOCAB, WordCase, case_examples, case_vectors
from core.spec.words import IN, OUT
from core.words import reference, sampling
from core.words.examples import Examples
from core.words.reference import ReferenceEngine
from tests.conftest import loaded, one_line
from tests.kernels.test_kernels import program
from tests.pairwise import pairwise

pytestmark = pytest.mark.skipif(kernels.failure() is not None, reason=f"no compiled kernels: {kernels.failure()}")

LIMIT = {"float64": 1e-12, "float32": 2e-5}
"""Relative to the largest number of an array, or to 0.1."""


def large_examples(rng, vocab_size: int = 50, predictions: int = 700, negatives: int = 5, most: int = 6) -> Examples:
    """Examples of several work items a step, runs of one input word, and steps of 0, 1 and many predictions."""
    sizes = np.where(rng.random(predictions) < 0.5, 1, rng.integers(1, most + 1, predictions))
    inputs = np.repeat(rng.integers(0, vocab_size, int(sizes.sum())), 2)[: int(sizes.sum())]
    targets = rng.integers(0, vocab_size, (predictions, 1 + negatives))
    targets[:, 1:][rng.random((predictions, negatives)) < 0.1] = -1
    steps = np.array([0, 0, 1, 300, 300, predictions])
    return Examples(
        inputs.astype(np.int32),
        np.append(0, np.cumsum(sizes)),
        targets.astype(np.int32),
        steps,
        rng.uniform(0.01, 0.1, len(steps) - 1),
    )


def vectors(rng, shape=(50, 20), dtype="float64") -> dict[str, np.ndarray]:
    return {name: rng.normal(0.0, 0.5, shape).astype(dtype) for name in (IN, OUT)}


def trained(arrays, examples: Examples) -> tuple[bytes, ...]:
    """Train on copies: the bits of losses and both tables."""
    copies = {name: array.copy() for name, array in arrays.items()}
    losses = words.train(Tables(copies[IN], copies[OUT]), examples)
    return losses.tobytes(), copies[IN].tobytes(), copies[OUT].tobytes()


def close(found: np.ndarray, wanted: np.ndarray, dtype: str) -> None:
    assert np.isfinite(found).all()
    scale = max(0.1, float(np.abs(wanted).max(initial=0.0)))
    assert np.abs(found - wanted).max(initial=0.0) <= LIMIT[dtype] * scale


# ---- right ----


@pairwise(
    indirect=["target"],
    target=kernels.TARGETS,
    kind=("skip_gram", "cbow"),
    dtype=LIMIT,
    dim=(1, 7, 16, 33),
    negatives=(1, 5, 40),
    values=("random", "start", "extreme"),
)
def test_every_build_equals_the_reference(target, kind, dtype, dim, negatives, values, rng):
    case = WordCase(kind, dim, negatives, 3, values)
    arrays, examples = case_vectors(case, case.experiment(dtype), rng), case_examples(case, rng)
    exact = {name: array.astype(np.float64) for name, array in arrays.items()}
    tables = Tables(arrays[IN], arrays[OUT])
    before = arrays[IN].tobytes(), arrays[OUT].tobytes()
    close(words.scores(tables, examples), reference.scores(exact, examples), dtype)
    loss, *slopes = words.gradients(tables, examples)
    exact_loss, exact_slopes = reference.gradients(exact, examples)
    close(np.array(loss), np.array(exact_loss), dtype)
    close(slopes[0], exact_slopes[IN], dtype)
    close(slopes[1], exact_slopes[OUT], dtype)
    assert (arrays[IN].tobytes(), arrays[OUT].tobytes()) == before
    engine = ReferenceEngine(exact)
    # One step: in float32, several steps at extreme scores would amplify rounding.
    close(words.train(tables, examples.step(0)), engine.train(examples.step(0)), dtype)
    for name, array in engine.parameters().items():
        close(arrays[name], array, dtype)


@pytest.fixture
def target(request):
    if not kernels.choose(request.param):
        pytest.skip(f"no {request.param} on this machine")
    assert kernels.target() == request.param
    return request.param


@pytest.mark.parametrize("dtype", LIMIT)
def test_several_steps_equal_the_reference(rng, dtype):
    arrays, examples = vectors(rng, dtype=dtype), large_examples(rng)
    engine = ReferenceEngine({name: array.astype(np.float64) for name, array in arrays.items()})
    close(words.train(Tables(arrays[IN], arrays[OUT]), examples), engine.train(examples), dtype)
    for name, array in engine.parameters().items():
        close(arrays[name], array, dtype)


def test_a_step_of_no_predictions_changes_nothing(rng):
    arrays, examples = vectors(rng), large_examples(rng)
    losses = words.train(Tables(*(array.copy() for array in arrays.values())), examples)
    assert losses[0] == losses[3] == 0.0 and losses[[1, 2, 4]].all()
    for part, count in ((examples.part(0, 1), 1), (examples.part(0, 0), 0)):
        assert len(part) == 0
        copies = {name: array.copy() for name, array in arrays.items()}
        tables = Tables(copies[IN], copies[OUT])
        assert words.train(tables, part).tolist() == [0.0] * count
        assert words.scores(tables, part).shape == (0, 6)
        loss, *slopes = words.gradients(tables, part)
        assert loss == 0.0 and not slopes[0].any() and not slopes[1].any()
        assert all(copies[name].tobytes() == arrays[name].tobytes() for name in arrays)


def test_many_losses_share_a_logarithm_without_overflow():
    """512 factors of up to 2 are multiplied before a logarithm: 64 predictions of 255 noise words at score 0."""
    shape, count = (3, 4), 64
    targets = np.ones((count, 256), dtype=np.int32)
    examples = Examples(
        np.zeros(count, np.int32), np.arange(count + 1), targets, np.array([0, count]), np.array([0.025])
    )
    for dtype in LIMIT:
        losses = words.train(Tables(np.zeros(shape, dtype), np.zeros(shape, dtype)), examples)
        np.testing.assert_allclose(losses, count * 256 * np.log(2.0), rtol=1e-7 if dtype == "float32" else 1e-13)


def test_scores_of_any_size_have_exact_losses_and_slopes():
    """Softplus and sigmoid to the last places, of large and small scores, which are the input vectors themselves."""
    scores = np.array([0.0, 1e-30, 1e-8, 0.5, 3.0, 20.0, 36.0, 80.0, 100.0, 700.0, 1000.0])
    scores = np.concatenate([scores, -scores])
    count = len(scores)
    examples = Examples(
        np.arange(count, dtype=np.int32),
        np.arange(count + 1),
        np.zeros((count, 1), np.int32),
        np.arange(count + 1),
        np.zeros(count),
    )
    for dtype, limit in (("float64", 1e-14), ("float32", 5e-7)):
        tables = Tables(scores[:, None].astype(dtype), np.ones((count, 1), dtype))
        losses = words.train(tables, examples)
        expected = np.logaddexp(0.0, -scores.astype(dtype).astype(np.float64))
        np.testing.assert_allclose(losses, expected, rtol=limit, atol=limit)
        _, d_in, _ = words.gradients(tables, examples)
        slope = -np.exp(-np.logaddexp(0.0, scores.astype(dtype).astype(np.float64)))
        # Below e^-87 (float32) and e^-708 (float64) a slope is as good as 0.
        np.testing.assert_allclose(d_in[:, 0], slope, rtol=limit, atol=1e-37 if dtype == "float32" else 1e-300)


def test_nan_in_a_table_stays_visible(rng):
    for name in (IN, OUT):
        arrays, examples = vectors(rng), large_examples(rng).part(0, 3)
        row = int(examples.inputs[5] if name == IN else examples.targets[5, 0])
        arrays[name][row, 3] = np.nan
        tables = Tables(arrays[IN], arrays[OUT])
        affected = np.isnan(reference.scores(arrays, examples))
        assert affected.any() and (np.isnan(words.scores(tables, examples)) == affected).all()
        assert np.isnan(words.gradients(tables, examples)[0])
        losses = words.train(tables, examples)
        assert np.isnan(losses[-1]) and all(np.isnan(array).any() for array in arrays.values())


# ---- the same bits ----


@pytest.mark.parametrize("dtype", LIMIT)
def test_threads_and_calls_do_not_change_a_bit(rng, dtype):
    arrays, examples = vectors(rng, dtype=dtype), large_examples(rng)
    kernels.set_threads(1)
    first = trained(arrays, examples)
    for threads in (1, 2, 3, 7, 7):
        kernels.set_threads(threads)
        assert trained(arrays, examples) == first, threads
    # Step by step, too.
    copies = {name: array.copy() for name, array in arrays.items()}
    losses = [words.train(Tables(copies[IN], copies[OUT]), examples.step(n)) for n in range(len(examples.rates))]
    assert (np.concatenate(losses).tobytes(), copies[IN].tobytes(), copies[OUT].tobytes()) == first


def test_more_threads_than_cores_often(rng):
    arrays, examples = vectors(rng, (50, 3)), large_examples(rng, predictions=310)
    first = trained(arrays, examples)
    kernels.set_threads(4 * (os.cpu_count() or 1))
    assert all(trained(arrays, examples) == first for _ in range(40))


@pytest.mark.parametrize("dtype", LIMIT)
def test_builds_with_fused_operations_agree(rng, dtype):
    arrays, examples = vectors(rng, dtype=dtype), large_examples(rng)
    found = {name: trained(arrays, examples) for name in ("avx2", "avx512") if kernels.choose(name)}
    if len(found) < 2:
        pytest.skip("this machine does not have both")
    assert found["avx2"] == found["avx512"]


@pytest.mark.parametrize("dtype", LIMIT)
@pytest.mark.parametrize("name", backends.NAMES)
def test_tensors_train_to_the_bits_of_arrays(name, dtype, rng):
    side = loaded(name)
    arrays, examples = vectors(rng, dtype=dtype), large_examples(rng)
    copies = {key: array.copy() for key, array in arrays.items()}
    losses = words.train(Tables(copies[IN], copies[OUT]), examples)
    device = side.runtime.native_device("cpu")
    tensors = [side.runtime.to_tensor(arrays[key].copy(), device) for key in (IN, OUT)]
    assert words.train(Tables(*tensors), examples).tobytes() == losses.tobytes()
    for key, tensor in zip((IN, OUT), tensors, strict=True):
        assert side.runtime.to_numpy(tensor).tobytes() == copies[key].tobytes()


# ---- noise ----


@pytest.mark.parametrize("vocab_size", [2, 3, 1000, 50_000])
def test_noise_is_that_of_core(rng, vocab_size):
    table = sampling.noise_table(rng.integers(1, 10_000, vocab_size), 0.75)
    positives = rng.integers(0, vocab_size, 9001).astype(np.int32)
    for key in (int(rng.integers(2**64, dtype=np.uint64)), 0, 2**64 - 1):
        expected = sampling.draw_noise(table, key, positives, 7)
        for threads in (1, 3):
            kernels.set_threads(threads)
            found = words.draw_noise(table, key, positives, 7)
            assert found.dtype == expected.dtype and (found == expected).all()
    assert words.draw_noise(table, 1, positives[:0], 5).shape == (0, 6)
    assert (
        words.draw_noise(table, 5, positives.astype(np.int64), 1) == sampling.draw_noise(table, 5, positives, 1)
    ).all()


# ---- wrong arguments ----

BIG = 2**31 - 1
WRONG = {
    "input id of V": ({"inputs": lambda a: put(a, VOCAB)}, "got words outside of 0 to 11"),
    "input id of 2^31": ({"inputs": lambda a: put(a, BIG)}, "got words outside"),
    "negative input id": ({"inputs": lambda a: put(a, -1)}, "got words outside"),
    "target id of V": ({"targets": lambda a: put(a, VOCAB)}, "got words outside"),
    "target id of -2": ({"targets": lambda a: put(a, -2)}, "got words outside"),
    "skipped positive": ({"targets": lambda a: put(a, -1, 0)}, "got words outside"),
    "offsets from 1": ({"offsets": lambda a: put(a, 1, 0)}, "offsets: expected rising"),
    "offsets beyond the end": ({"offsets": lambda a: put(a, 10**6)}, "offsets: expected rising"),
    "falling offsets": ({"offsets": lambda a: put(a, 10**6, 7)}, "offsets: expected rising"),
    "no input": ({"offsets": lambda a: put(a, int(a[7]), 8)}, "offsets: expected rising"),
    "too few offsets": ({"offsets": lambda a: np.append(a[:3], a[-1])}, "offsets: got shape"),
    "steps from 1": ({"steps": lambda a: put(a, 1, 0)}, "steps: expected rising"),
    "steps beyond the end": ({"steps": lambda a: put(a, 41)}, "steps: expected rising"),
    "falling steps": ({"steps": lambda a: put(a, 99, 1)}, "steps: expected rising"),
    "too few rates": ({"rates": lambda a: a[:-1]}, "steps: got shape"),
    "int64 inputs": ({"inputs": lambda a: a.astype(np.int64)}, "inputs: got int64, expected int32"),
    "int64 targets": ({"targets": lambda a: a.astype(np.int64)}, "targets: got int64, expected int32"),
    "int32 offsets": ({"offsets": lambda a: a.astype(np.int32)}, "offsets: got int32, expected int64"),
    "int32 steps": ({"steps": lambda a: a.astype(np.int32)}, "steps: got int32, expected int64"),
    "float32 rates": ({"rates": lambda a: a.astype(np.float32)}, "rates: got float32, expected float64"),
    "strided inputs": ({"inputs": lambda a: np.repeat(a, 2)[::2]}, "inputs: got a non-contiguous array"),
}


def put(array: np.ndarray, value: int, place: int = -1) -> np.ndarray:
    array = array.copy()
    array.flat[place] = value
    return array


@pytest.mark.parametrize("name", WRONG)
def test_wrong_examples_are_refused_and_nothing_is_written(name, rng):
    changes, says = WRONG[name]
    case = WordCase("cbow", 5, 3, 3)
    arrays, examples = case_vectors(case, case.experiment("float32"), rng), case_examples(case, rng)
    wrong = replace(examples, **{field: change(getattr(examples, field)) for field, change in changes.items()})
    before = arrays[IN].tobytes(), arrays[OUT].tobytes()
    with pytest.raises((TypeError, ValueError)) as error:
        words.train(Tables(arrays[IN], arrays[OUT]), wrong)
    assert says in one_line(error)
    assert (arrays[IN].tobytes(), arrays[OUT].tobytes()) == before
    assert {field.name for field in fields(Examples)} > set(changes)


@pytest.mark.parametrize(
    ("inputs", "outputs", "says"),
    [
        (np.zeros((12, 5), "f4"), np.zeros((12, 6), "f4"), "outputs: got shape"),
        (np.zeros((12, 5), "f4"), np.zeros((11, 5), "f4"), "outputs: got shape"),
        (np.zeros((12, 5), "f4"), np.zeros((12, 5), "f8"), "outputs: got float64, expected float32"),
        (np.zeros((12, 5), "f2"), np.zeros((12, 5), "f2"), "inputs: got float16"),
        (np.zeros(12, "f4"), np.zeros(12, "f4"), "inputs: got shape [12], expected [V, D]"),
        (np.zeros((12, 10), "f4")[:, ::2], np.zeros((12, 5), "f4"), "inputs: got a non-contiguous array"),
        ([[0.0]], [[0.0]], "inputs: got list, expected an array"),
    ],
)
def test_wrong_tables_are_refused(inputs, outputs, says, rng):
    examples = case_examples(WordCase("cbow", 5, 3, 3), rng)
    with pytest.raises((TypeError, ValueError)) as error:
        words.train(Tables(inputs, outputs), examples)
    assert says in one_line(error)


def test_a_wrong_noise_table_is_refused(rng):
    table = sampling.noise_table(rng.integers(1, 100, 9), 0.75)
    for wrong in (
        replace(table, threshold=table.threshold.astype(np.int64)),
        replace(table, threshold=table.threshold[:8]),
        replace(table, alias=table.alias.astype(np.int64)),
    ):
        with pytest.raises((TypeError, ValueError), match="threshold: got|alias: got"):
            words.draw_noise(wrong, 1, np.zeros(4, np.int32), 2)


# ---- Ctrl-C ----


STOPPED = """
from backends.kernels import words
from core.words.examples import Examples
count, threads = 3_000_000, int(sys.argv[1])
kernels.set_threads(threads)
rng = np.random.default_rng(1)
examples = Examples(
    rng.integers(0, 200, count).astype("i4"), np.arange(count + 1), rng.integers(0, 200, (count, 6)).astype("i4"),
    np.append(np.arange(0, count, 1000), count), np.full(count // 1000, 1e-6),
)
tables = words.Tables(*(rng.normal(size=(200, 512)).astype("f4") for _ in range(2)))
small = examples.part(0, 2)
sent = []
def interrupt():
    sent.append(time.process_time())
    os.kill(os.getpid(), signal.SIGINT)
try:
    threading.Timer(0.3, interrupt).start()
    words.train(tables, examples)
except KeyboardInterrupt:
    print("stopped", time.process_time() - sent[0], flush=True)
    print(np.isfinite(words.train(tables, small)).all(), flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
@pytest.mark.parametrize("threads", [1, 3])
def test_ctrl_c_interrupts_a_long_call(threads):
    with program(STOPPED, threads) as child:
        word, seconds = child.stdout.readline().split()
        assert word == "stopped" and float(seconds) < 1.0
        assert child.stdout.readline() == "True\n"
        assert child.wait(30) == 0
