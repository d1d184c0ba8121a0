"""Engines of word2vec in both frameworks: at scores of 0 and of any size, with repeated words, with NaN."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.errors import UserError
from core.parity.layers import Side
from core.parity.words.instances import WordCase, case_examples, case_vectors
from core.parity.words.rungs import word_engine
from core.spec.words import IN, OUT
from core.words import reference, sampling
from core.words.engine import IMPLEMENTATIONS
from core.words.examples import Examples
from core.words.reference import ReferenceEngine
from tests.conftest import one_line

CASE = WordCase("cbow", 5, 3, 2)


@pytest.fixture(params=IMPLEMENTATIONS)
def side(backend, request) -> Side:
    from backends import kernels

    if request.param == "fast" and kernels.failure():
        pytest.skip("no compiled kernels")
    return Side(backend, request.param)


def one_step(targets: list[list[int]], inputs: list[int]) -> Examples:
    """Return one step of predictions with one input word each."""
    count = len(inputs)
    return Examples(
        np.array(inputs, np.int32),
        np.arange(count + 1),
        np.array(targets, np.int32),
        np.array([0, count]),
        np.array([0.5]),
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gradient_at_the_start_is_half(side, dtype, rng):
    """All scores are exactly 0: the slope is -1/2 for the positive and 1/2 for noise (docs/differences.md)."""
    arrays = {IN: rng.normal(size=(4, 3)).astype(dtype), OUT: np.zeros((4, 3), dtype)}
    engine = word_engine(side, arrays)
    loss, slopes = engine.gradients(one_step([[1, 2, -1]], [3]))
    assert loss == pytest.approx(2 * np.log(2.0), rel=1e-6)
    assert not slopes[IN].any() and not slopes[OUT][[0, 3]].any()
    np.testing.assert_array_equal(slopes[OUT][1], -0.5 * arrays[IN][3])
    np.testing.assert_array_equal(slopes[OUT][2], 0.5 * arrays[IN][3])


def test_slopes_of_a_word_that_occurs_several_times_add_up(side, rng):
    """As positive, as noise, and as input: the step is the sum of the steps of its predictions."""
    arrays = {name: rng.normal(size=(5, 4)) for name in (IN, OUT)}
    examples = one_step([[1, 2], [1, 1 + 2], [2, 1], [1, -1]], [0, 0, 4, 0])
    engine, expected = word_engine(side, arrays), {name: array.copy() for name, array in arrays.items()}
    singles = replace(examples, steps=np.arange(5), rates=np.full(4, 0.5))
    for number in range(4):
        for name, slope in reference.gradients(arrays, singles.step(number))[1].items():
            expected[name] -= 0.5 * slope
    engine.train(examples)
    for name, array in engine.parameters().items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_losses_and_slopes_of_scores_of_any_size(side, dtype):
    scores = np.array([0.0, 1e-8, 0.5, 3.0, 20.0, 80.0, 100.0, 1000.0])
    scores = np.concatenate([scores, -scores])
    arrays = {IN: scores[:, None].astype(dtype), OUT: np.ones((len(scores), 1), dtype)}
    limit = 1e-13 if dtype == "float64" else 1e-6
    exact = arrays[IN].astype(np.float64)[:, 0]
    for number, score in enumerate(exact):
        examples = one_step([[number]], [number])
        engine = word_engine(side, arrays)
        loss, slopes = engine.gradients(examples)
        # Paddle's float32 `log_sigmoid` is 0 above 17 (docs/differences.md); its gradient is right.
        assert loss == pytest.approx(np.logaddexp(0.0, -score), rel=limit, abs=limit)
        slope = -np.exp(-np.logaddexp(0.0, score))
        assert slopes[IN][number, 0] == pytest.approx(slope, rel=limit, abs=1e-37)
        assert slopes[OUT][number, 0] == pytest.approx(slope * score, rel=limit, abs=1e-34)
        assert engine.scores(examples).tolist() == [[score]]


def test_nan_stays_visible(side, rng):
    arrays, examples = case_vectors(CASE, CASE.experiment("float32"), rng), case_examples(CASE, rng)
    arrays[IN][examples.inputs[0], 1] = np.nan
    engine = word_engine(side, arrays)
    assert np.isnan(engine.scores(examples)[0, 0])
    assert np.isnan(engine.train(examples)).any()
    assert all(np.isnan(array).any() for array in engine.parameters().values())


def test_tables_are_copies(side, rng):
    arrays, examples = case_vectors(CASE, CASE.experiment("float64"), rng), case_examples(CASE, rng)
    before = {name: array.copy() for name, array in arrays.items()}
    engine, wanted = word_engine(side, arrays), ReferenceEngine(arrays)
    first = engine.parameters()
    engine.train(examples)
    wanted.train(examples)
    for name in (IN, OUT):
        assert (arrays[name] == before[name]).all() and (first[name] == before[name]).all()
        assert not (engine.parameters()[name] == before[name]).all()
        np.testing.assert_allclose(engine.parameters()[name], wanted.parameters()[name], rtol=0, atol=1e-13)


def test_no_steps(side, rng):
    arrays, examples = case_vectors(CASE, CASE.experiment("float64"), rng), case_examples(CASE, rng)
    assert word_engine(side, arrays).train(examples.part(0, 0)).tolist() == []


def test_noise_of_every_implementation(side, rng):
    table = sampling.noise_table(rng.integers(1, 99, 30), 0.75)
    positives = rng.integers(0, 30, 500).astype(np.int32)
    draw = word_engine(side, {IN: np.zeros((30, 2)), OUT: np.zeros((30, 2))}).draw_noise
    assert (draw(table, 7, positives, 3) == sampling.draw_noise(table, 7, positives, 3)).all()


def test_choice_of_the_implementation(monkeypatch):
    from backends import implementations, kernels

    choose = implementations.resolve_word_implementation
    assert choose("loop", "cpu") == choose("loop", "cuda") == choose("auto", "cuda") == "loop"
    with pytest.raises(UserError) as error:
        choose("fast", "cuda")
    assert "run on the CPU only" in one_line(error)
    with pytest.raises(UserError) as error:
        choose("builtin", "cpu")
    assert "choose one of auto, fast, loop" in one_line(error)
    monkeypatch.setattr(kernels, "failure", lambda: "not compiled")
    assert choose("auto", "cpu") == "loop"
    with pytest.raises(UserError) as error:
        choose("fast", "cpu")
    assert "not compiled" in one_line(error)
