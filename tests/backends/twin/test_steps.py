"""Training steps of both frameworks' optimizers: equal settings agree, and other settings are found."""

from __future__ import annotations

import numpy as np
import pytest

from core.twin.contract import Optimization, Run
from core.twin.steps import compare_steps
from core.twin.verdict import Pairing
from tests.conftest import needs_both

pytestmark = needs_both

STEPS = 5


def sides(rng: np.random.Generator, *optimizers):
    """A small network with dropout in both frameworks, with the same random values."""
    from backends.paddle.framework import paddle
    from backends.paddle.twin import TwinSide as PaddleSide
    from backends.torch.framework import torch
    from backends.torch.twin import TwinSide as TorchSide

    one = torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Tanh(), torch.nn.Dropout(0.25), torch.nn.Linear(8, 3)
    )
    two = paddle.nn.Sequential(
        paddle.nn.Linear(6, 8),
        paddle.nn.BatchNorm1D(8),
        paddle.nn.Tanh(),
        paddle.nn.Dropout(0.25),
        paddle.nn.Linear(8, 3),
    )
    given = optimizers or (None, None)
    both = TorchSide(one, optimizer=given[0]), PaddleSide(two, optimizer=given[1])
    values = {
        own.name: (0.5 + rng.random(own.values.shape)).astype(np.float32)
        for own in both[0].describe()[1]
        if own.values.dtype.kind == "f"
    }
    for side in both:
        side.write(values)
    return both


def trained(rng: np.random.Generator, first: Optimization, second: Optimization, *optimizers):
    both = sides(rng, *optimizers)
    batches = [{"0": rng.standard_normal((size, 6))} for size in (7, 4)]
    how = Run(batches[0], mode="training")
    before = [side.describe()[1] for side in both]
    runs = tuple(side.run(how) for side in both)
    steps = tuple(side.train(how, batches, own) for side, own in zip(both, (first, second), strict=True))
    for parameters, side in zip(before, both, strict=True):
        for own, again in zip(parameters, side.describe()[1], strict=True):
            np.testing.assert_array_equal(own.values, again.values)
    names = {own.name for own in before[0]} & {own.name for own in before[1]}
    return compare_steps(runs, steps, Pairing({name: name for name in names}, {}), first, LIMIT), steps


LIMIT = 1e-7
"""Paddle rounds the epsilon of BatchNorm to float32: docs/differences.md#float32_inside."""


@pytest.mark.parametrize(
    "optimization",
    [
        Optimization("sgd", 0.1, weight_decay=0.01, schedule="linear", steps=STEPS),
        Optimization("momentum", 0.1, weight_decay=0.01, clip_norm=0.05, steps=STEPS),
        Optimization("adam", 0.01, betas=(0.8, 0.98), epsilon=1e-3, weight_decay=0.01, steps=STEPS),
        Optimization("adamw", 0.01, weight_decay=0.1, clip_norm=0.05, schedule="cosine", steps=STEPS),
    ],
    ids=lambda own: own.optimizer,
)
def test_equal_optimizers_take_equal_steps(optimization, rng):
    found, steps = trained(rng, optimization, optimization)
    assert found.finding.passed, found.finding.sentence
    assert [own.number for own in steps[0]] == list(range(1, STEPS + 1))
    moved = np.abs(steps[0][-1].values["0.weight"] - steps[0][0].values["0.weight"]).max()
    assert moved > 1e-5
    assert (steps[0][-1].rate < steps[0][0].rate) == (optimization.schedule != "constant")
    assert abs(steps[0][0].norm / steps[1][0].norm - 1) < LIMIT
    if optimization.clip_norm is not None:
        whole = sum(float((own**2).sum()) for own in steps[1][0].gradients.values())
        assert steps[0][0].norm > optimization.clip_norm and abs(whole**0.5 / optimization.clip_norm - 1) < 1e-12
    assert steps[0][0].loss != steps[0][2].loss  # the same batch, with another mask


@pytest.mark.parametrize(
    ("changed", "setting"),
    [({"epsilon": 1e-3}, "epsilon"), ({"betas": (0.9, 0.99)}, "betas"), ({"weight_decay": 0.05}, "weight_decay")],
)
def test_another_setting_is_found_by_the_steps(changed, setting, rng):
    plain = {"optimizer": "adamw", "rate": 0.01, "weight_decay": 0.01, "steps": STEPS}
    found, _ = trained(rng, Optimization(**plain), Optimization(**plain | changed))
    assert not found.finding.passed and found.finding.cause.setting == setting, found.finding.cause


def test_the_user_s_optimizers_and_schedules_are_compared(rng):
    def first(model):
        from backends.torch.framework import torch

        own = torch.optim.SGD(model.parameters(), lr=0.1)
        return own, torch.optim.lr_scheduler.StepLR(own, 2, 0.5)

    def second(model, every: int = 2, limit: float | None = None):
        from backends.paddle.framework import paddle

        schedule = paddle.optimizer.lr.StepDecay(0.1, every, 0.5)
        clip = None if limit is None else paddle.nn.ClipGradByGlobalNorm(limit)
        return paddle.optimizer.SGD(schedule, parameters=model.parameters(), grad_clip=clip)

    plain = Optimization(steps=STEPS)
    found, steps = trained(rng, plain, plain, first, second)
    assert found.finding.passed, found.finding.sentence
    assert [own.rate for own in steps[1]] == [0.1, 0.1, 0.05, 0.05, 0.025]
    found, _ = trained(rng, plain, plain, first, lambda model: second(model, every=3))
    assert found.finding.cause.setting == "schedule" and found.finding.sentence.startswith("step 3")
    found, _ = trained(rng, plain, plain, first, lambda model: second(model, limit=1e-3))
    assert found.finding.cause.setting == "clip_norm" and found.finding.sentence.startswith("step 1")


def test_a_parameter_that_the_optimizer_does_not_get_is_named(rng):
    def first(model):
        from backends.torch.framework import torch

        return torch.optim.Adam(list(model.parameters())[:-1], lr=0.01)

    def second(model):
        from backends.paddle.framework import paddle

        return paddle.optimizer.Adam(0.01, parameters=model.parameters())

    found, _ = trained(rng, Optimization(steps=3), Optimization(steps=3), first, second)
    assert "`4.bias` never moves in PyTorch: it is not given to the optimizer" in found.finding.cause.sentence
