"""The definition of word2vec in NumPy against sums word by word, and its gradients."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from core.parity.words.instances import VOCAB, WordCase, case_examples, case_vectors
from core.parity.words.rungs import complex_step_gradients
from core.spec.words import IN, OUT, WordModel, WordTraining
from core.words import reference
from core.words.reference import ReferenceEngine, initial_vectors

CASES = {"skip_gram": WordCase("skip_gram", 5, 3, 2), "cbow": WordCase("cbow", 4, 2, 3)}
each_kind = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def instance(case: WordCase, rng):
    return case_vectors(case, case.experiment("float64"), rng), case_examples(case, rng)


@each_kind
def test_scores_and_losses_word_by_word(case, rng):
    arrays, examples = instance(case, rng)
    scores, losses = reference.scores(arrays, examples), reference.losses(arrays, examples)
    for n, row in enumerate(examples.targets):
        contexts = examples.inputs[examples.offsets[n] : examples.offsets[n + 1]]
        h = [math.fsum(arrays[IN][c, d] for c in contexts) / len(contexts) for d in range(case.dim)]
        total = 0.0
        for k, word in enumerate(row):
            if word < 0:
                assert scores[n, k] == 0.0
                continue
            score = math.fsum(a * b for a, b in zip(arrays[OUT][word], h, strict=True))
            assert scores[n, k] == pytest.approx(score, abs=1e-14)
            total -= math.log(1.0 / (1.0 + math.exp(-score if k == 0 else score)))
        assert losses[n] == pytest.approx(total, rel=1e-13)


@each_kind
@pytest.mark.parametrize("values", ["random", "start", "extreme"])
def test_closed_form_equals_the_complex_step(case, values, rng):
    case = WordCase(case.kind, case.dim, case.negatives, case.window, values)
    arrays, examples = instance(case, rng)
    loss, found = reference.gradients(arrays, examples)
    exact = complex_step_gradients(arrays, examples)
    assert math.isfinite(loss) and loss == reference.losses(arrays, examples).sum()
    for name, array in exact.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-12 * max(1.0, np.abs(array).max()))
    assert values == "start" or np.abs(exact[IN]).max() > 0


@each_kind
def test_closed_form_equals_central_differences(case, rng):
    arrays, examples = instance(case, rng)
    _, found = reference.gradients(arrays, examples)
    for name in (IN, OUT):
        for _ in range(8):
            index = tuple(int(rng.integers(size)) for size in arrays[name].shape)
            sides = []
            for step in (1e-5, -1e-5):
                moved = {key: array.copy() for key, array in arrays.items()}
                moved[name][index] += step
                sides.append(reference.losses(moved, examples).sum())
            assert found[name][index] == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-6, abs=1e-8)


def test_complex_numbers_give_the_same_losses(rng):
    arrays, examples = instance(CASES["cbow"], rng)
    found = reference.losses({name: array.astype(np.complex128) for name, array in arrays.items()}, examples)
    np.testing.assert_allclose(np.real(found), reference.losses(arrays, examples), rtol=1e-14)
    assert not np.imag(found).any()


def test_gradient_of_a_large_positive_score_does_not_cancel():
    """1 - sigmoid(60) is 8.8e-27; 1.0 - 1.0 would be 0."""
    case = WordCase("skip_gram", 1, 1, 1)
    arrays = {IN: np.ones((VOCAB, 1)), OUT: np.full((VOCAB, 1), 60.0)}
    examples = case_examples(case, np.random.default_rng(0))
    examples.targets[:, 1] = -1
    _, found = reference.gradients(arrays, examples)
    np.testing.assert_allclose(found[OUT].sum(), -len(examples) * math.exp(-60.0), rtol=1e-12)


def test_start_of_training(rng):
    model, training = WordModel(dim=8), WordTraining(seed=int(rng.integers(1000)), dtype="float32")
    start = initial_vectors(model, training, 500)
    assert not start[OUT].any() and start[IN].dtype == start[OUT].dtype == np.float32
    assert np.abs(start[IN]).max() <= 1 / 16 and np.abs(start[IN]).max() > 0.99 / 16
    assert abs(start[IN].mean()) < 0.01 and (start[IN] == initial_vectors(model, training, 500)[IN]).all()
    case = WordCase("cbow", 8, 4, 2, "start")
    arrays, examples = instance(case, rng)
    counted = (examples.targets >= 0).sum(axis=1)
    np.testing.assert_allclose(reference.losses(arrays, examples), counted * math.log(2.0), rtol=1e-14)


@each_kind
def test_a_step_takes_all_slopes_before_it(case, rng):
    """Steps of minibatch SGD: the gradient is the sum over the step, at the tables before it."""
    arrays, examples = instance(case, rng)
    engine = ReferenceEngine(arrays)
    losses, expected = engine.train(examples), {name: array.copy() for name, array in arrays.items()}
    for number, rate in enumerate(examples.rates):
        step = examples.step(number)
        total = {name: np.zeros_like(array) for name, array in expected.items()}
        ones = dataclasses.replace(step, steps=np.arange(len(step) + 1), rates=np.full(len(step), rate))
        for n in range(len(step)):
            for name, slope in reference.gradients(expected, ones.step(n))[1].items():
                total[name] += slope
        assert losses[number] == pytest.approx(reference.losses(expected, step).sum())
        for name in expected:
            expected[name] -= rate * total[name]
    for name, array in engine.parameters().items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-13)
        assert array is not engine.parameters()[name]
