"""Poolings `max_mean`, `last_max_mean`, `ends` and `attention`: formulas, masks and sizes on all sides."""

from __future__ import annotations

import numpy as np
import pytest

import backends
from core.batch import Batch, pad
from core.engine.executor import Executor
from core.errors import UserError
from core.models.model import forward, parameter_table
from core.parity.instances import random_parameters
from core.spec.experiment import Experiment, replace
from tests.conftest import loaded, one_line

SIDES = [("reference", ""), *((name, own) for name in backends.NAMES for own in ("builtin", "fast"))]


def small(pooling: str, **changes: object) -> Experiment:
    base = {"model.embedding.vocab_size": 9, "model.embedding.dim": 3, "model.encoder.hidden_size": 2}
    return replace(Experiment(), {**base, "model.head.pooling": pooling, "training.dtype": "float64", **changes})


def outputs(side: tuple[str, str], experiment: Experiment, parameters: dict, batch: Batch) -> dict[str, np.ndarray]:
    name, implementation = side
    if name == "reference":
        return forward(experiment.model, parameters, batch)
    executor = Executor("cpu", implementation)
    return loaded(name).Engine(experiment.model, experiment.training, parameters, executor).activations(batch)


@pytest.mark.parametrize("side", SIDES, ids=" ".join)
def test_ends_are_the_complete_outputs_of_the_first_and_last_token(side, rng):
    experiment = small("ends")
    parameters = random_parameters(experiment, rng)
    batch = pad([rng.integers(1, 9, length) for length in (1, 4, 7)], {})
    found = outputs(side, experiment, parameters, batch)
    for row, length in enumerate(batch.lengths):
        output = found["encoder.l0"][row]
        np.testing.assert_array_equal(found["pooled"][row], np.concatenate([output[0], output[length - 1]]))
    assert {row.name: row.shape for row in parameter_table(experiment.model)}["head.weight"] == (2, 8)


@pytest.mark.parametrize("side", SIDES, ids=" ".join)
def test_max_mean_concatenates_maxima_and_means_of_the_real_tokens(side, rng):
    experiment = small("max_mean")
    parameters = random_parameters(experiment, rng)
    batch = pad([rng.integers(1, 9, length) for length in (1, 4, 7)], {})
    found = outputs(side, experiment, parameters, batch)
    for row, length in enumerate(batch.lengths):
        real = found["encoder.l0"][row, :length]
        np.testing.assert_array_equal(found["pooled"][row, :4], real.max(axis=0))
        np.testing.assert_allclose(found["pooled"][row, 4:], real.mean(axis=0), rtol=1e-13, atol=1e-16)
    assert {row.name: row.shape for row in parameter_table(experiment.model)}["head.weight"] == (2, 8)


@pytest.mark.parametrize("side", SIDES, ids=" ".join)
def test_last_max_mean_concatenates_last_states_maxima_and_means(side, rng):
    """The last state of the reverse direction is that at the first token."""
    experiment = small("last_max_mean")
    parameters = random_parameters(experiment, rng)
    batch = pad([rng.integers(1, 9, length) for length in (1, 4, 7)], {})
    found = outputs(side, experiment, parameters, batch)
    for row, length in enumerate(batch.lengths):
        real = found["encoder.l0"][row, :length]
        joined = np.concatenate([real[-1, :2], real[0, 2:], real.max(axis=0)])
        np.testing.assert_array_equal(found["pooled"][row, :8], joined)
        np.testing.assert_allclose(found["pooled"][row, 8:], real.mean(axis=0), rtol=1e-13, atol=1e-16)
    assert {row.name: row.shape for row in parameter_table(experiment.model)}["head.weight"] == (2, 12)


@pytest.mark.parametrize("side", SIDES, ids=" ".join)
def test_attention_is_a_softmax_over_the_real_tokens(side, rng):
    experiment = small("attention")
    parameters = random_parameters(experiment, rng)
    parameters["head.attention.score.weight"] *= (
        300.0  # differences of scores beyond those that `softmax` of Paddle has
    )
    batch = pad([rng.integers(1, 9, length) for length in (1, 4, 7)], {})
    found = outputs(side, experiment, parameters, batch)
    for row, length in enumerate(batch.lengths):
        x = found["encoder.l0"][row, :length]
        scores = np.tanh(x @ parameters["head.attention.weight"].T) @ parameters["head.attention.score.weight"][0]
        terms = np.exp(scores - scores.max())
        np.testing.assert_allclose(found["head.attention"][row, :length], terms / terms.sum(), 1e-11)
        np.testing.assert_allclose(found["pooled"][row], terms @ x / terms.sum(), 1e-11)
        assert not found["head.attention"][row, length:].any(), "exactly zero at padding"


@pytest.mark.parametrize("side", SIDES, ids=" ".join)
@pytest.mark.parametrize("pooling", ["max_mean", "last_max_mean", "ends", "attention"])
def test_padding_changes_nothing(side, pooling, rng):
    experiment = small(pooling, **{"model.head.hidden_size": 3})
    parameters = random_parameters(experiment, rng)
    narrow = pad([rng.integers(1, 9, length) for length in (1, 2, 5, 9)], {})
    wide = Batch(np.pad(narrow.ids, ((0, 0), (0, 23))), narrow.lengths, {})
    one, other = (outputs(side, experiment, parameters, batch)["logits"] for batch in (narrow, wide))
    np.testing.assert_allclose(one, other, rtol=0, atol=0 if side[0] == "reference" else 1e-15)


def test_textcnn_has_no_outputs_of_tokens():
    for pooling in ("last_max_mean", "ends", "attention"):
        with pytest.raises(UserError) as error:
            small(pooling, **{"model.encoder": {"kind": "textcnn"}})
        assert (
            f"head.pooling {pooling} is not supported by encoder.kind textcnn: use max or mean or max_mean"
            in one_line(error)
        )
