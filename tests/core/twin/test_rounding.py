"""Float32 differences of hand-made recordings, judged by the rounding of the models themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.twin.recording import Call, Module, Recording
from core.twin.rounding import compare_rounding

LAYERS = 4


def run(values: list[np.ndarray], framework: str, dtype: str) -> Recording:
    calls = tuple(Call(number, f"layer{number}", {}, {"": own.astype(dtype)}) for number, own in enumerate(values))
    modules = (Module("", "Model"), *(Module(call.path, "Layer") for call in calls))
    outputs = {"": values[-1].astype(dtype)}
    return Recording(framework, "1", dtype, "evaluation", 0, modules, (), {}, calls, outputs)


class Pair:
    """Equal models in float64; in float32 each rounds by itself, more in every layer."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.exact = [rng.standard_normal((7, 9)) for _ in range(LAYERS)]

    def rounded(self, framework: str, factors: tuple[float, ...] = (1,) * LAYERS) -> Recording:
        noise = [self.rng.standard_normal((7, 9)) for _ in range(LAYERS)]
        sizes = [factor * 2e-7 * (1 + 3 * number) for number, factor in enumerate(factors)]
        values = [own + size * error for own, size, error in zip(self.exact, sizes, noise, strict=True)]
        return run(values, framework, "float32")

    def compare(self, one: Recording, two: Recording):
        exact = run(self.exact, "torch", "float64"), run(self.exact, "paddle", "float64")
        return compare_rounding(exact, (one, two), list(zip(exact[0].calls, exact[1].calls, strict=True)))


@pytest.fixture
def pair(rng) -> Pair:
    return Pair(rng)


def test_rounding_is_at_most_two_units(pair):
    found = pair.compare(pair.rounded("torch"), pair.rounded("paddle"))
    assert found.finding.passed and found.notes == ()
    assert len(found.units) == LAYERS and 0 < found.finding.value <= 2


def test_results_that_are_exact_by_chance_do_not_count_as_units(pair):
    exact = run([own.astype(np.float32) for own in pair.exact], "paddle", "float32")
    assert pair.compare(exact, exact).finding.value == 0
    nearly = run([own * (1 + 1e-7) for own in pair.exact], "torch", "float32")
    assert pair.compare(nearly, exact).finding.passed


def test_a_fault_that_float64_shares_with_float32_is_beyond_the_rounding(pair):
    """A model that differs in float64 too, by far more than it rounds."""
    other = list(pair.exact)
    other[2] = other[2] * 1.001
    exact = run(pair.exact, "torch", "float64"), run(other, "paddle", "float64")
    rounded = pair.rounded("torch"), run(other, "paddle", "float32")
    found = compare_rounding(exact, rounded, list(zip(exact[0].calls, exact[1].calls, strict=True)))
    assert not found.finding.passed and found.finding.value > 100
    assert found.finding.cause.paths == {"torch": "layer2", "paddle": "layer2"}
    assert found.units[1] < 8 < found.units[2]


def test_a_layer_that_loses_precision_in_one_model_is_noted(pair):
    found = pair.compare(pair.rounded("torch"), pair.rounded("paddle", (1, 1, 3000, 3000)))
    assert found.finding.passed  # float64 agrees: it is rounding, though avoidable
    assert len(found.notes) == 1 and "`layer2` rounds" in found.notes[0] and "PaddlePaddle" in found.notes[0]


def test_a_nan_in_float32_alone_is_a_fault(pair):
    broken = pair.rounded("paddle")
    broken.calls[1].outputs[""][0, 0] = np.nan
    found = pair.compare(pair.rounded("torch"), broken).finding
    assert not found.passed and found.cause.paths["paddle"] == "layer1"


def test_other_calls_in_float32_leave_the_outputs(pair):
    two = pair.rounded("paddle")
    found = pair.compare(pair.rounded("torch"), replace(two, calls=two.calls[1:]))
    assert found.finding.passed and found.finding.compared == 1 and found.units == (None,) * LAYERS
    assert "only outputs are compared" in found.notes[0]
