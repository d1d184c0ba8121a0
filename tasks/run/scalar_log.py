"""Observers of training that write scalars, and their names, which all kinds of log files share."""

from __future__ import annotations

import importlib.util

from core.errors import UserError
from core.models.heads.scores import Evaluation
from core.train.trainer import Interval, Observer


def check_installed(package: str) -> None:
    """Raise UserError if the package of the option of its name is missing; called before any file is written."""
    if importlib.util.find_spec(package) is None:
        raise UserError(f"--{package}: package {package} is not installed; run: pip install 'seqtwin[{package}]'")


class ScalarLog:
    """Write scalars during training (`core.train.trainer.Observer`).

    `loss/train`, `accuracy/train` and `tokens_per_second` are means over the steps of an interval, as are the norms
    `gradient/NAME` of `training.watch_gradients`; `loss/dev` and `accuracy/dev` are those of an evaluation.
    """

    def on_interval(self, interval: Interval) -> None:
        figures = {"loss/train": interval.loss, "accuracy/train": interval.accuracy}
        norms = {f"gradient/{name}": norm for name, norm in interval.grad_norms.items()}
        self.write(interval.step, {**figures, "tokens_per_second": interval.tokens_per_second, **norms})

    def on_evaluating(self, done: int, total: int) -> None:
        pass

    def on_evaluation(self, epoch: float, step: int, evaluation: Evaluation, is_best: bool) -> None:
        self.write(step, {"loss/dev": evaluation.loss, "accuracy/dev": evaluation.accuracy})

    def write(self, step: int, scalars: dict[str, float]) -> None:
        raise NotImplementedError


class Observers:
    """Forward every event to several observers."""

    def __init__(self, *observers: Observer) -> None:
        self.observers = observers

    def on_interval(self, interval: Interval) -> None:
        for observer in self.observers:
            observer.on_interval(interval)

    def on_evaluating(self, done: int, total: int) -> None:
        for observer in self.observers:
            observer.on_evaluating(done, total)

    def on_evaluation(self, epoch: float, step: int, evaluation: Evaluation, is_best: bool) -> None:
        for observer in self.observers:
            observer.on_evaluation(epoch, step, evaluation, is_best)
