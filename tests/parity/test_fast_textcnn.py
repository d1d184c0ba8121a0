"""All rungs for the compiled convolutions of a TextCNN, and the faults that they must show."""

from __future__ import annotations

import numpy as np
import pytest

import backends
from backends import implementations
from core.parity.check import run_parity_check
from core.parity.faults import planted
from core.parity.faults.textcnn import FAULTS
from core.parity.findings import first_failure
from core.parity.layers import Side
from core.parity.training import Comparison
from core.spec.experiment import replace
from tasks.parity.training_cases import TRAINING
from tests.conftest import INSTALLED
from tests.parity.recorded import hold
from tests.parity.test_training import data, experiment_of, ignore, needs_both, on_its_data  # noqa: F401

pytestmark = [
    pytest.mark.slow,
    needs_both,
    pytest.mark.skipif(implementations.why_not_fast("cpu") is not None, reason="no compiled kernels"),
]
RUNS = {
    "textcnn": {},
    "tanh, centered windows, adversarial": {
        "model.encoder": {
            "kind": "textcnn",
            "kernels": (4, 2),
            "channels": (5, 3),
            "padding": "same",
            "activation": "tanh",
        },
        "training.adversarial": 0.05,
        "training.word_dropout": 0.2,
    },
    "bfloat16": {"training.dtype": "bfloat16"},
}
"""Changes to the training run `textcnn` of the parity check."""


def sides(implementation: str) -> dict[str, Side]:
    return {name: Side(backends.load(name), implementation) for name in INSTALLED}


@pytest.mark.parametrize("name", RUNS)
def test_training_passes_all_rungs(name, data, tmp_path, rng):  # noqa: F811
    """In both frameworks, and against the framework's own convolution."""
    experiment, *sets = on_its_data(replace(experiment_of(TRAINING["textcnn"]), RUNS[name]), data)
    builtin = {"torch, builtin": sides("builtin")["torch"]}
    comparison = Comparison(experiment, *sets, {**sides("fast"), **builtin}, 12)
    findings, trained = run_parity_check(comparison, int(rng.integers(1 << 30)), tmp_path, ignore)
    hold(findings)
    assert {finding.rung for finding in findings} == {1, 2, 3, 4, 5}
    for losses in trained.losses.values():
        assert len(losses) == 12 and np.ptp(losses) > 1e-3, "nothing was learned: the comparison says nothing"


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_caught_on_its_rung(fault, data, tmp_path, rng):  # noqa: F811
    name, expected = rng.choice(INSTALLED), FAULTS[fault]
    experiment, *sets = on_its_data(replace(experiment_of({}), expected.needs), data)
    assert "fast" in experiment.model.implementations
    with planted(backends.load(name), fault):
        findings, _ = run_parity_check(Comparison(experiment, *sets, sides("fast"), 12), 0, tmp_path, ignore)
    failed = first_failure(findings)
    assert failed is not None and failed.rung == expected.rung and failed.first.startswith(expected.named), failed
