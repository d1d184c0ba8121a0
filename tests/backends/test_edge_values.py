"""Every framework function in a layer, loss, clip or optimizer, at its kinks and extremes, against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from core.batch import pad
from core.models.model import forward, parameter_table
from core.models.types import Arrays
from core.parity import derivatives
from core.parity.instances import random_parameters
from core.parity.layers import Side, engine_of
from core.spec.experiment import Experiment, replace

TEXTS = ([2], [3, 3, 3, 3], [4, 2, 4, 5, 2, 1], [5, 5])
EXTREMES = (0.0, -0.0, 1e-310, 1e-30, 0.5, -0.5, 20.0, -20.0, 100.0, -100.0, 1000.0, -1000.0)
TOLERANCE = {"float64": 1e-13, "float32": 1e-6}
DIVIDES_BY_RESET_GATE = {("paddle", "builtin", "gru"), ("paddle", "packed", "gru")}
"""Their backward pass divides by the reset gate, also where it is 0: docs/differences.md, gru_reset_shut."""


def small(**changes) -> Experiment:
    fixed = {
        "model.embedding.vocab_size": 6,
        "model.embedding.dim": 3,
        "model.embedding.dropout": 0.0,
        "model.encoder.hidden_size": 2,
        "model.head.dropout": 0.0,
        "training.dtype": "float64",
    }
    return replace(Experiment(), {**fixed, **changes})


def textcnn(**changes) -> Experiment:
    encoder = {"kind": "textcnn", "kernels": (1, 2), "channels": (2, 2), "activation": "relu"}
    return replace(
        replace(Experiment(), {"model.encoder": encoder, "model.head.pooling": "max"}),
        {
            "model.embedding.vocab_size": 6,
            "model.embedding.dim": 3,
            "model.embedding.dropout": 0.0,
            "model.head.dropout": 0.0,
            "training.dtype": "float64",
            **changes,
        },
    )


def batch_of(classes: int, labels=None):
    return pad([np.array(ids) for ids in TEXTS], {"label": np.array(labels or [0, 1, classes - 1, 0])})


def same(side, experiment: Experiment, arrays: Arrays, batch) -> None:
    """Outputs, loss and gradients are those of the reference, and finite."""
    tolerance, dtype = TOLERANCE[experiment.training.dtype], experiment.training.array_dtype
    arrays = {name: array.astype(dtype) for name, array in arrays.items()}
    exact = {name: array.astype(np.float64) for name, array in arrays.items()}
    engine = engine_of(side, experiment, arrays)
    for name, array in forward(experiment.model, exact, batch).items():
        np.testing.assert_allclose(engine.activations(batch)[name], array, tolerance, tolerance, err_msg=name)
    loss, found = engine.gradients(batch, 0)
    np.testing.assert_allclose(loss, derivatives.training_loss(experiment, exact, batch, 0), tolerance, tolerance)
    for name, array in derivatives.gradients(experiment, exact, batch, 0).items():
        assert np.isfinite(found[name]).all(), name
        np.testing.assert_allclose(found[name], array, tolerance, tolerance * max(1, np.abs(array).max()), err_msg=name)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("logit", EXTREMES)
def test_loss_of_one_logit(backend, logit, dtype, rng):
    """A logit of exactly 0 (an all-zero head) too: Paddle's own function has a wrong gradient there."""
    experiment = small(**{"model.head.one_logit": True, "training.dtype": dtype})
    arrays = random_parameters(experiment, rng)
    arrays["head.weight"][:], arrays["head.bias"][:] = 0.0, logit
    same(backend, experiment, arrays, batch_of(2))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("logits", [(0, 0, 0), (1e-310, 0, -0.0), (100, -100, 0), (-1000, 1000, 1000), (7, 7, -3)])
def test_loss_of_several_logits(backend, logits, dtype, rng):
    experiment = small(**{"model.head.classes": 3, "training.dtype": dtype})
    arrays = random_parameters(experiment, rng)
    arrays["head.weight"][:], arrays["head.bias"][:] = 0.0, logits
    same(backend, experiment, arrays, batch_of(3))


@pytest.mark.parametrize("cell", ["srn", "gru", "lstm", "residual_srn"])
@pytest.mark.parametrize("implementation", ["builtin", "packed", "loop", "fast"])
def test_saturated_and_dead_cells(backend, cell, implementation, rng):
    """Sigmoid and tanh at 0, at denormal numbers, and where they are 0 or 1 to rounding."""
    experiment = small(**{"model.encoder.cell": cell})
    if implementation not in experiment.model.implementations:
        pytest.skip(f"{cell} has no {implementation}")
    for bias in EXTREMES:
        arrays = random_parameters(experiment, rng)
        for name in arrays:
            if name.startswith("encoder.bias_ih") or (name.startswith("encoder.") and abs(bias) < 1e-20):
                arrays[name][:] = bias
        if cell == "residual_srn" and abs(bias) > 1:
            continue  # its state is a sum: nothing saturates
        side, batch = Side(backend, implementation), batch_of(2)
        if bias == -1000 and (backend.NAME, implementation, cell) in DIVIDES_BY_RESET_GATE:
            _, found = engine_of(side, experiment, arrays).gradients(batch, 0)
            assert np.isnan(found["embedding.weight"]).any()
        else:
            same(side, experiment, arrays, batch)


@pytest.mark.parametrize("implementation", ["builtin", "packed", "loop", "fast"])
def test_max_pooling_of_equal_values(backend, implementation, rng):
    """The first of equal maxima has the gradient: without a recurrent weight a token has one state at every place, and
    only later places have a gradient of the recurrent weight."""
    experiment = small(**{"model.encoder.cell": "srn", "model.head.pooling": "max"})
    arrays = random_parameters(experiment, rng)
    for name in arrays:
        if name.startswith("encoder.weight_hh"):
            arrays[name][:] = 0.0
    same(Side(backend, implementation), experiment, arrays, batch_of(2))
    _, found = engine_of(Side(backend, implementation), experiment, arrays).gradients(batch_of(2), 0)
    assert np.abs(found["encoder.weight_ih_l0"]).max() > 0


@pytest.mark.parametrize("bias", [0.0, -0.0, 1e-310, -1e-310, -1.0])
def test_relu_at_and_near_zero(backend, bias, rng):
    """Its derivative at 0 is 0."""
    experiment = textcnn()
    arrays = random_parameters(experiment, rng)
    for name in arrays:
        if name.startswith("encoder."):
            arrays[name][:] = bias if "bias" in name else 0.0
    same(backend, experiment, arrays, batch_of(2))


def test_ties_are_predicted_as_the_first_class(backend, rng):
    """As by the reference; a single logit of 0 is class 0."""
    for changes in ({"model.head.classes": 3}, {"model.head.one_logit": True}):
        experiment = small(**changes)
        arrays = random_parameters(experiment, rng)
        arrays["head.weight"][:], arrays["head.bias"][:] = 0.0, 0.0
        engine, batch = engine_of(backend, experiment, arrays), batch_of(2, [0, 1, 1, 0])
        scored = experiment.model.head.score(engine.logits(batch), batch.targets)
        engine.train_step(batch, 0, 0.0)
        assert scored.predicted.tolist() == [0, 0, 0, 0] and engine.collect()[0].right == 2


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_non_finite_values_are_not_hidden(backend, value, rng):
    """A loss that is not finite must be seen as such: no function may turn it into a number."""
    experiment = small()
    arrays = random_parameters(experiment, rng)
    arrays["head.bias"][:] = value
    engine = engine_of(backend, experiment, arrays)
    engine.train_step(batch_of(2), 0, 1e-3)
    assert not np.isfinite(engine.collect()[0].loss)


GRADIENTS = {
    "zero": [0.0, -0.0, 0.0],
    "denormal": [1e-310, -1e-310, 0.0],
    "below the limit": [0.25, -0.25, 0.1],
    "at the limit": [0.0, 0.0, 1.0],
    "above": [3.0, -4.0, 1e-310],
    "infinite": [np.inf, 1.0, 0.0],
    "not a number": [np.nan, 1.0, 0.0],
}


@pytest.mark.parametrize("mode", ["none", "global", "tensor", "value"])
@pytest.mark.parametrize("name", GRADIENTS)
def test_clipping(backend, name, mode):
    """By min(1, limit / norm), whatever the norm; by `value` every entry. The returned norm is that before clipping."""
    arrays = [np.array(GRADIENTS[name]), np.array([0.0, 0.0]), np.array([0.5])]
    device = backend.runtime.native_device("cpu")
    gradients = [backend.runtime.to_tensor(array.copy(), device) for array in arrays]
    norm = float(backend.optimizer.clip(gradients, mode, 1.0))
    with np.errstate(all="ignore"):
        squares = np.array([np.square(array).sum() for array in arrays])
        norms = {"global": np.full(3, np.sqrt(squares.sum())), "tensor": np.sqrt(squares)}
        factors = np.minimum(1.0, 1.0 / norms.get(mode, np.full(3, 1e-9)))
        wanted = [array * factor for array, factor in zip(arrays, factors, strict=True)]
        if mode == "value":
            wanted = [np.clip(array, -1.0, 1.0) for array in arrays]
        np.testing.assert_allclose(norm, np.sqrt(squares.sum()), 1e-15)
    for found, array in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(backend.runtime.to_numpy(found), array, 1e-15, 0)


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_parameters_without_a_gradient_stay(backend, kind, rng):
    """Words that no text holds have a gradient of exactly 0: Adam divides 0 by 0 + epsilon."""
    experiment = small(**{"training.optimizer": {"kind": kind}, "training.clip_mode": "global"})
    arrays = random_parameters(experiment, rng)
    engine = engine_of(backend, experiment, arrays)
    batch = pad([np.array([2]), np.array([3, 2])], {"label": np.array([0, 1])})
    for step in range(3):
        engine.train_step(batch, step, 0.1)
    engine.collect()
    found = engine.parameters()
    used = np.isin(np.arange(6), [2, 3])
    np.testing.assert_array_equal(found["embedding.weight"][~used], arrays["embedding.weight"][~used])
    assert (found["embedding.weight"][used] != arrays["embedding.weight"][used]).all()
    assert set(found) == {row.name for row in parameter_table(experiment.model)}
