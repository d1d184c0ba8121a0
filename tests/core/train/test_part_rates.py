"""Learning rates by part of the model: both frameworks' optimizers against NumPy, and frozen steps."""

from __future__ import annotations

import numpy as np
import pytest

from core.batch import pad
from core.engine.executor import Executor
from core.errors import UserError
from core.models.model import parameter_table
from core.parity.instances import random_batch, random_parameters
from core.spec.experiment import Experiment, replace
from core.spec.part_rates import equal_rates, part_rates
from core.spec.rates import PARTS, part_of
from core.spec.training import Training
from tasks.parity.cases import DECODERS, GRID, LANGUAGE, TAGGERS, VARIANTS
from tests.conftest import one_line
from tests.core.train.test_loop import SMALL, VOCAB, new_engine

ADAM = {"kind": "adam", "learning_rate": 0.02, "weight_decay": 0.1}
SGD = {"kind": "sgd", "learning_rate": 0.5, "momentum": 0.9, "weight_decay": 0.1}
RATES = {
    "training.rate_factors": {"embedding": 0.3, "encoder": 0.6, "head": 1.7},
    "training.frozen_steps": {"embedding": 4, "encoder": 2},
    "training.clip_mode": "none",
}


def batches(rng, number: int) -> list:
    """Return batches of unequal lengths, with a text of one token."""
    return [
        pad(
            [rng.integers(2, VOCAB, length) for length in (1, *rng.integers(1, 9, 4))], {"label": rng.integers(0, 2, 5)}
        )
        for _ in range(number)
    ]


def updated(experiment: Experiment, values: dict, gradients: dict, state: dict, step: int) -> dict:
    """Return the parameters after one step of the optimizer in NumPy; `state` changes in place."""
    training, found = experiment.training, {}
    optimizer = training.optimizer
    rates = part_rates(training, step, optimizer.learning_rate)
    for name, gradient in gradients.items():
        rate, value = rates[part_of(name)], values[name].copy()
        if "bias" not in name:
            value *= 1.0 - rate * optimizer.weight_decay
        if optimizer.kind == "sgd":
            state[name] = optimizer.momentum * state.get(name, 0.0) + gradient
            found[name] = value - rate * state[name]
            continue
        first, second = state.get(name, (0.0, 0.0))
        first = optimizer.beta1 * first + (1 - optimizer.beta1) * gradient
        second = optimizer.beta2 * second + (1 - optimizer.beta2) * gradient**2
        state[name] = first, second
        root = np.sqrt(second / (1 - optimizer.beta2 ** (step + 1))) + optimizer.epsilon
        found[name] = value - rate * first / (1 - optimizer.beta1 ** (step + 1)) / root
    return found


@pytest.mark.parametrize(("optimizer", "implementation"), [(ADAM, "fast"), (ADAM, "builtin"), (SGD, "fast")], ids=str)
def test_both_frameworks_step_like_the_reference(backend, optimizer, implementation, rng):
    """Six steps with a resume in between, while the embedding is frozen; frozen parts do not change in a bit."""
    experiment = replace(SMALL, {**RATES, "training.optimizer": optimizer})
    engine, state = new_engine(backend, experiment, implementation), {}
    for step, batch in enumerate(batches(rng, 6)):
        before = engine.parameters()
        _, gradients = engine.gradients(batch, step)
        engine.train_step(batch, step, experiment.training.optimizer.learning_rate)
        after = engine.parameters()
        for name, values in updated(experiment, before, gradients, state, step).items():
            np.testing.assert_allclose(after[name], values, rtol=1e-7, atol=1e-9, err_msg=f"{name} after step {step}")
            frozen = step < getattr(experiment.training.frozen_steps, part_of(name))
            assert (after[name].tobytes() == before[name].tobytes()) == frozen, (name, step)
        if step == 2:
            moments, engine = engine.moments(), new_engine(backend, experiment, implementation)
            engine.load(after, moments, step + 1)


def test_equal_factors_change_no_bit(backend, rng):
    """Parts of equal rates are updated together; others apart, with the same results."""
    own = {"training.frozen_steps": {"embedding": 1}}
    plain, apart = new_engine(backend, SMALL), new_engine(backend, replace(SMALL, own))
    for step, batch in enumerate(batches(rng, 3), start=1):
        plain.train_step(batch, step, 0.02)
        apart.train_step(batch, step, 0.02)
    for name, values in plain.parameters().items():
        assert values.tobytes() == apart.parameters()[name].tobytes(), name


@pytest.mark.parametrize("case", [TAGGERS[0], DECODERS[0], LANGUAGE[0]], ids=lambda case: type(case).__name__)
def test_an_optimizer_step_moves_every_trained_parameter(case, backend, rng):
    """Those of a decoder too, whose names begin neither with `encoder` nor with `head`."""
    experiment = replace(case.experiment("float64"), {"training.clip_mode": "none"})
    parameters, batch = random_parameters(experiment, rng), random_batch(experiment, rng)
    engine = backend.Engine(experiment.model, experiment.training, parameters, Executor("cpu", "builtin"))
    before = engine.parameters()
    for step in range(3):
        engine.train_step(batch, step, 0.05)
    for name, values in engine.parameters().items():
        assert not np.array_equal(values, before[name]), f"{name} ({part_of(name)})"


def test_every_parameter_has_a_part():
    for case in (*GRID, *VARIANTS):
        for row in parameter_table(case.experiment("float64").model):
            assert part_of(row.name) in PARTS, row.name
    assert part_of("decoder.weight_ih_l0") == "head" and part_of("encoder.bias_hh_l0") == "encoder"


def test_groups_of_equal_rates():
    assert equal_rates(Training()) == [PARTS]
    assert equal_rates(replace(SMALL, RATES).training) == [("embedding",), ("encoder",), ("head",)]
    one = replace(SMALL, {"training.frozen_steps": {"encoder": 5}}).training
    assert equal_rates(one) == [("embedding", "head"), ("encoder",)]
    assert part_rates(one, 4, 0.5) == {"embedding": 0.5, "encoder": 0.0, "head": 0.5}
    assert part_rates(one, 5, 0.5) == dict.fromkeys(PARTS, 0.5)


def test_a_negative_factor_is_refused():
    with pytest.raises(UserError) as error:
        replace(SMALL, {"training.rate_factors.encoder": -1.0})
    assert "training.rate_factors.encoder" in one_line(error)
