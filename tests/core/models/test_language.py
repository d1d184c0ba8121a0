"""The language head: what it predicts, its noise, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

import backends
from core.batch import PAD, Batch, pad
from core.errors import UserError
from core.models.heads.language import LanguageHead, neighbors, noise_distribution
from core.models.model import forward
from core.models.types import Arrays
from core.parity.faults import fault, planted
from core.parity.instances import random_batch, random_parameters
from core.parity.layers import compare_forward, compare_gradients
from core.schema import of_kind
from core.spec.experiment import Experiment, replace
from tasks.parity.language_cases import LANGUAGE, small_language_model

INSTALLED = [name for name in backends.NAMES if backends.installed(name)]


def drawn(case: int = 0) -> tuple[Experiment, LanguageHead, Arrays, Batch]:
    """Return a small model with random parameters and a random batch; the seed is printed if a test fails."""
    seed = int(np.random.default_rng().integers(2**31))
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    experiment = LANGUAGE[case].experiment("float64")
    head = of_kind(experiment.model.head, LanguageHead)
    return experiment, head, random_parameters(experiment, rng), random_batch(experiment, rng)


def test_neighbors_of_every_position():
    ids = np.array([[5, 6, 7], [8, 0, 0]])
    assert neighbors(ids, "forward").tolist() == [[6, 7, 0], [0, 0, 0]]
    assert neighbors(ids, "reverse").tolist() == [[0, 5, 6], [0, 8, 0]]


def test_probabilities_of_all_words_sum_to_one():
    """A token's probability depends on its own id alone, so that of every word can be read in turn."""
    experiment, head, arrays, batch = drawn()
    total = 0.0
    for word in range(1, head.num_words):
        logits = forward(experiment.model, arrays, batch_with(batch, head, word))["logits"]
        total = total + np.exp(logits[:, :, :2]) * head.predicted(batch)
    np.testing.assert_allclose(total[head.predicted(batch)], 1.0, rtol=1e-12)


def batch_with(batch: Batch, head: LanguageHead, word: int) -> Batch:
    return Batch(batch.ids, batch.lengths, head.constant_targets(batch, word))


def test_padding_changes_no_bit():
    experiment, _, arrays, batch = drawn()
    for row, length in enumerate(batch.lengths):
        targets = {name: own[row : row + 1, :length] for name, own in batch.targets.items()}
        alone = forward(experiment.model, arrays, pad([batch.ids[row, :length]], targets))["logits"]
        found = forward(experiment.model, arrays, batch)["logits"][row : row + 1]
        np.testing.assert_allclose(found[:, :length], alone, rtol=1e-12, atol=1e-14)
        assert not found[:, length:].any()


def test_noise_follows_its_distribution_and_depends_on_the_step():
    head = LanguageHead(num_words=8, dim=2, negatives=20000, power=0.75)
    batch = pad([np.array([1, 2])], {})
    noise, other = (head.sampled(batch, 3, step).noise for step in (0, 1))
    assert noise is not None and other is not None and not np.array_equal(noise.ids, other.ids)
    again = head.sampled(batch, 3, 0).noise
    assert again is not None and np.array_equal(noise.ids, again.ids)
    counts = np.bincount(noise.ids, minlength=8)
    expected = np.exp(noise.logs[1:])
    assert counts[PAD] == 0 and abs(expected.sum() - 20000) < 1e-6
    # Each word within six standard deviations of its expected number.
    assert (np.abs(counts[1:] - expected) < 6 * np.sqrt(expected)).all()
    ratio = np.exp(np.diff(noise_distribution(8, 0.75)[1][1:3]))
    np.testing.assert_allclose(ratio, 2.0**-0.75)


def test_many_noise_words_approach_the_exact_loss():
    experiment, head, arrays, batch = drawn()
    many = head.model_copy(update={"negatives": 20000})
    model = experiment.model.model_copy(update={"head": many})
    exact = many.losses(forward(model, arrays, batch), batch)
    sampled = many.losses(forward(model, arrays, many.sampled(batch, 1, 0)), batch)
    assert np.abs(exact - sampled).max() < 0.1
    assert np.abs(exact).max() > 1.0


def test_score_is_the_reciprocal_of_the_perplexity():
    experiment, head, arrays, batch = drawn()
    logits = forward(experiment.model, arrays, batch)["logits"]
    outcomes = head.outcomes(logits, batch, arrays)
    assert len(outcomes) == head.counted(batch) == 2 * (batch.lengths - 1).sum()
    losses = head.losses({"logits": logits}, batch)
    np.testing.assert_allclose(-outcomes[:, 0].sum(), losses.sum(), rtol=1e-12)


@pytest.mark.parametrize("name", INSTALLED)
def test_backend_equals_the_reference(name):
    experiment, _, arrays, batch = drawn()
    side = {name: backends.load(name)}
    found = compare_forward(experiment, arrays, batch, side) + compare_gradients(experiment, arrays, batch, side)
    assert all(row.passed for row in found), [row.first for row in found]


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("chosen", ["wrong-neighbor", "no-noise-correction", "true-word-as-noise"])
def test_planted_fault_is_named(name, chosen):
    experiment, _, arrays, batch = drawn()
    with planted(backends.load(name), chosen):
        (found,) = compare_forward(experiment, arrays, batch, {name: backends.load(name)})
    assert found.first.startswith(fault(chosen).named)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"num_layers": 2}, "encoder.num_layers 2"),
        ({"num_words": 9}, "head.num_words is 9"),
        ({"dim": 4}, "head.dim is 4"),
    ],
)
def test_models_that_read_what_they_predict_are_refused(changes, named):
    with pytest.raises(UserError) as error:
        replace(Experiment(), {"model": small_language_model(**changes), "data": {"kind": "texts"}})
    assert named in str(error.value) and "\n" not in str(error.value)
