"""Optimizers of both models, as users make them, and the settings that both get from the comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import paddle
import torch

from core.twin.contract import Optimization


@dataclass(frozen=True)
class Optimizers:
    """Settings for both models, or functions that make each model's own optimizer."""

    settings: Optimization | None = None
    torch: Callable | None = None
    paddle: Callable | None = None


def torch_adam(**settings):
    return lambda model: torch.optim.Adam(model.parameters(), lr=0.01, **settings)


def paddle_adam(**settings):
    return lambda model: paddle.optimizer.Adam(0.01, parameters=model.parameters(), **settings)


def paddle_schedule(model):
    schedule = paddle.optimizer.lr.StepDecay(0.01, step_size=1, gamma=0.5)
    return paddle.optimizer.Adam(schedule, parameters=model.parameters()), schedule


def torch_momentum(model):
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def paddle_momentum(model):
    return paddle.optimizer.Momentum(0.1, momentum=0.8, parameters=model.parameters())


OPTIMIZERS = {
    "sgd": Optimizers(Optimization("sgd", 0.1)),
    "adam": Optimizers(Optimization("adam", 0.01)),
    "adamw": Optimizers(Optimization("adamw", 0.01, weight_decay=0.1, schedule="cosine")),
    "clipped": Optimizers(Optimization("momentum", 0.1, clip_norm=0.01, schedule="linear")),
    "epsilon": Optimizers(torch=torch_adam(eps=1e-8), paddle=paddle_adam(epsilon=1e-4)),
    "decay": Optimizers(torch=torch_adam(), paddle=paddle_adam(weight_decay=0.1)),
    "clip": Optimizers(torch=torch_adam(), paddle=paddle_adam(grad_clip=paddle.nn.ClipGradByGlobalNorm(1e-4))),
    "schedule": Optimizers(torch=torch_adam(), paddle=paddle_schedule),
    "momentum": Optimizers(torch=torch_momentum, paddle=paddle_momentum),
}
"""Optimizers by the name that `tests.twin.cases.Case.optimizer` has."""
