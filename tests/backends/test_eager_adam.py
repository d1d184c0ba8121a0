"""Adam without the wrappers for `torch.compile`: it computes the same, and does not import the compiler."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from core.parity.instances import random_batch, random_parameters
from core.parity.layers import engine_of
from core.spec.experiment import replace
from tasks.parity.cases import Case
from tests.conftest import loaded

STEPS = 4


@pytest.fixture
def trained(rng):
    """A function that trains the same model in torch, with two groups of parameters: its parameters and moments."""
    backend = loaded("torch")
    experiment = replace(
        Case("lstm", 1, True, "mean", "index").experiment("float64"),
        {"training.rate_factors": {"embedding": 0.5}, "training.optimizer.weight_decay": 0.1},
    )
    parameters, batches = random_parameters(experiment, rng), [random_batch(experiment, rng) for _ in range(STEPS)]

    def train() -> dict[str, np.ndarray]:
        engine = engine_of(backend, experiment, parameters)
        for step, batch in enumerate(batches):
            engine.train_step(batch, step, 0.01)
        return {**engine.parameters(), **engine.moments()}

    return train


def test_it_equals_the_framework_s(trained, monkeypatch):
    found = trained()
    optimizer = loaded("torch").optimizer
    monkeypatch.setattr(optimizer, "_EagerAdam", optimizer.torch.optim.Adam)
    for name, wanted in trained().items():
        np.testing.assert_array_equal(found[name], wanted)


def test_training_does_not_import_the_compiler(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)
    assert all(np.isfinite(array).all() for array in trained().values())
