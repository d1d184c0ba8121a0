"""Training steps of two models that follow known formulas: the first step and tensor that part, and why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.twin.contract import Optimization
from core.twin.kinds import BATCH_NORM, LINEAR
from core.twin.optimizers import Formula, follow, formula_of, recognize
from core.twin.recording import Module, Parameter, Recording, Step
from core.twin.steps import compare_steps
from core.twin.verdict import Pairing

SHAPES = {"first.weight": (5, 4), "first.bias": (5,), "last.weight": (3, 5)}
BUFFERS = ("norm.running_mean", "norm.running_var")
STEPS = 6
ADAM = Optimization(optimizer="adam", rate=0.01, steps=STEPS)
PLAIN = formula_of(ADAM)


def recording(starts: dict[str, np.ndarray], framework: str, momentum: float = 0.1) -> Recording:
    parameters = tuple(
        Parameter(name, name, name.rpartition(".")[0], name.rpartition(".")[2], own, buffer=name in BUFFERS)
        for name, own in starts.items()
    )
    modules = (
        Module("", "Model", children=("first", "norm", "last")),
        Module("first", "Linear", LINEAR),
        Module("norm", "BatchNorm1d", BATCH_NORM, {"momentum": momentum}),
        Module("last", "Linear", LINEAR),
    )
    return Recording(framework, "1", "float64", "training", 0, modules, parameters, {})


class Models:
    """Two models with the same gradients; every parameter follows a formula."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.starts = {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}
        self.starts |= {"norm.running_mean": rng.standard_normal(5), "norm.running_var": 1 + rng.random(5)}
        self.gradients = [{name: rng.standard_normal(shape) for name, shape in SHAPES.items()} for _ in range(STEPS)]
        self.losses = rng.random(STEPS) + 1
        self.statistics = [(rng.standard_normal(5), 1 + rng.random(5)) for _ in range(STEPS)]
        self.pairing = Pairing({name: name for name in self.starts}, {})

    def steps(
        self,
        formulas: dict[str, Formula] | Formula = PLAIN,
        rates: np.ndarray | float = 0.01,
        factor: float = 1.0,
        momentum: float = 0.1,
        unbiased: float = 1.0,
    ) -> list[Step]:
        noise = 1 + 1e-15 * self.rng.standard_normal(STEPS)
        told = np.broadcast_to(rates, STEPS)
        gradients = [{name: factor * own * noise[n] for name, own in g.items()} for n, g in enumerate(self.gradients)]
        values = {
            name: list(
                follow(
                    formulas.get(name, PLAIN) if isinstance(formulas, dict) else formulas,
                    self.starts[name],
                    [g[name] for g in gradients],
                    told.tolist(),
                )
            )
            for name in SHAPES
        }
        mean, variance = (self.starts[name] for name in BUFFERS)
        found = []
        for n in range(STEPS):
            mean = (1 - momentum) * mean + momentum * self.statistics[n][0]
            variance = (1 - momentum) * variance + momentum * unbiased * self.statistics[n][1]
            own = {name: series[n] for name, series in values.items()}
            own |= dict(zip(BUFFERS, (mean, variance), strict=True))
            found.append(Step(n + 1, float(self.losses[n]), float(told[n]), None, own, gradients[n]))
        return found

    def compare(self, first: list[Step], second: list[Step], optimization: Optimization = ADAM, momentum: float = 0.1):
        recordings = recording(self.starts, "torch"), recording(self.starts, "paddle", momentum)
        return compare_steps(recordings, (first, second), self.pairing, optimization)


@pytest.fixture
def models(rng) -> Models:
    return Models(rng)


def changed(steps: list[Step], number: int, **fields) -> list[Step]:
    return [replace(own, **fields) if own.number == number else own for own in steps]


def test_equal_steps_pass(models):
    found = models.compare(models.steps(), models.steps())
    assert found.finding.passed and found.finding.cause is None and found.finding.rung == 3
    assert found.finding.value < 1e-12 and len(found.figures) == STEPS


@pytest.mark.parametrize(
    ("other", "setting", "words"),
    [
        (
            replace(PLAIN, epsilon=1e-6),
            "epsilon",
            "adam with epsilon 1e-08 in PyTorch, adam with epsilon 1e-06 in PaddlePaddle",
        ),
        (replace(PLAIN, betas=(0.9, 0.98)), "betas", "betas (0.9, 0.98) in PaddlePaddle"),
        (replace(PLAIN, optimizer="adamw", weight_decay=0.01), "optimizer", "adamw in PaddlePaddle"),
        (replace(PLAIN, weight_decay=0.01), "weight_decay", "weight_decay 0.01 in PaddlePaddle"),
        (Formula("momentum", momentum=0.9), "optimizer", "momentum in PaddlePaddle"),
    ],
)
def test_a_setting_of_the_optimizer_is_recognized_by_the_steps(models, other, setting, words):
    found = models.compare(models.steps(), models.steps({"last.weight": other})).finding
    assert not found.passed and found.cause.setting == setting and words in found.cause.sentence
    assert "gradients agree, but the updates of `last.weight` differ" in found.sentence


def test_every_formula_is_recognized_from_another_guess(models):
    formulas = [
        Formula("sgd"),
        Formula("momentum", momentum=0.95),
        Formula("nesterov", momentum=0.9, weight_decay=1e-3),
        Formula("adam", None, (0.9, 0.98), 1e-5, 0.0),
        Formula("adamw", None, (0.9, 0.999), 1e-8, 0.05),
    ]
    gradients = [own["first.weight"] for own in models.gradients]
    for formula in formulas:
        values = list(follow(formula, models.starts["first.weight"], gradients, [0.01] * STEPS))
        found = recognize(PLAIN, models.starts["first.weight"], values, gradients, [0.01] * STEPS)
        assert found == formula


def test_steps_of_no_formula_are_not_recognized(models):
    gradients = [own["first.weight"] for own in models.gradients]
    values = [models.starts["first.weight"] - 0.01 * np.sin(own) for own in gradients]
    assert recognize(PLAIN, models.starts["first.weight"], values, gradients, [0.01] * STEPS) is None


def test_a_parameter_that_never_moves_is_named(models):
    still = [replace(own, values={**own.values, "first.bias": models.starts["first.bias"]}) for own in models.steps()]
    found = models.compare(models.steps(), still).finding
    sentence = "`first.bias` never moves in PaddlePaddle: it is not given to the optimizer"
    assert (found.cause.place, found.cause.sentence) == ("optimizer", sentence)


def test_a_schedule_is_told_from_another_learning_rate(models):
    falling = 0.01 * (1 - np.arange(STEPS) / STEPS)
    found = models.compare(models.steps(), models.steps(rates=falling)).finding
    assert found.cause.setting == "schedule" and found.sentence.startswith("step 2: the learning rate is 0.01")
    assert models.compare(models.steps(), models.steps(rates=0.02)).finding.cause.setting == "rate"


def test_a_common_factor_of_all_gradients_is_clipping(models):
    found = models.compare(models.steps(), models.steps(factor=0.25)).finding
    assert found.cause.setting == "clip_norm" and "4 times as large in PyTorch" in found.cause.sentence


def test_losses_that_differ_before_the_gradients_come_first(models):
    found = models.compare(models.steps(), changed(models.steps(), 3, loss=9.0)).finding
    assert found.sentence.startswith("step 3: the losses differ")


def test_entries_whose_gradient_is_rounding_are_not_compared(models):
    """Adam turns the sign of a gradient of 1e-17 into a whole step."""
    small = replace(PLAIN, epsilon=1e-17)
    for gradients in models.gradients:
        gradients["first.bias"][:3] = 1e-17
    first = models.steps(small)
    for gradients in models.gradients:
        gradients["first.bias"][:3] = -1e-17
    second = models.steps(small)
    gap = np.abs(first[-1].values["first.bias"] - second[-1].values["first.bias"])
    assert gap[:3].min() > 1e-4  # the models do differ there
    assert models.compare(first, second).finding.passed
    second[-1].values["first.bias"][4] += 1e-3
    assert not models.compare(first, second).finding.passed


def test_an_unbiased_variance_is_expected_and_told(models):
    found = models.compare(models.steps(unbiased=12 / 11), models.steps())
    assert found.finding.passed and "divides by n - 1" in found.notes[0]
    assert not models.compare(models.steps(unbiased=1.07), models.steps()).finding.passed


def test_another_momentum_of_a_normalization_is_named(models):
    found = models.compare(models.steps(), models.steps(momentum=0.9), momentum=0.9).finding
    assert (found.cause.place, found.cause.setting, found.cause.link) == ("inside", "momentum", "batch_norm")
    assert found.sentence.startswith("step 1: `norm.running_")


def test_a_coefficient_in_float32_is_linked(models):
    rounded = Formula("momentum", momentum=float(np.float32(0.9)))
    plain = Formula("momentum", momentum=0.9)
    found = models.compare(models.steps(plain), models.steps(rounded)).finding
    assert not found.passed and found.cause.link == "momentum_rounding"
