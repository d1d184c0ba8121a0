"""The training loop: one for all backends, for a model alone and for models side by side.

A run is a function of its spec: the batches of an epoch, the learning rate and the dropout of a step do not depend on
when or where the run was stopped. So a resume needs the parameters, the optimiser's moments and the step, no more.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing

from core.batch import Batch
from core.data.dataset import Dataset
from core.errors import UserError
from core.spec.experiment import Experiment
from core.train.steps import evaluation_is_due, total_steps

LOG_INTERVAL = 20
"""Steps between two readings of the figures, which wait for the device. Every step gets its line all the same."""
SAVE_SECONDS = 120.0
"""Longest training time that a power cut can cost."""


def check_finite(loss: float, what: str, step: int) -> None:
    """Raises UserError where training has diverged: going on, or keeping such parameters, helps nobody."""
    if not math.isfinite(loss):
        cure = "lower `training.optimizer.learning_rate` or `training.clip_norm`"
        raise UserError(f"step {step}: {what} is {loss}: training diverged; {cure}")


def finite_or_none(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None


class TrainingLoop:
    """Steps, evaluations, readings and saves of a run in their order. What they do is a subclass's, and what it keeps
    of the run: `step`, the number of steps taken, and `finished`."""

    step: int
    finished: bool

    def __init__(self, experiment: Experiment, train_set: Dataset, should_stop: Callable[[], bool]) -> None:
        self.experiment, self.training, self.should_stop = experiment, experiment.training, should_stop
        self.steps_per_epoch, self.total_steps = total_steps(experiment, train_set)
        self.clock = self.last_save = time.perf_counter()

    @property
    def epoch(self) -> float:
        """Epochs so far, as the metrics say it."""
        return round(self.step / self.steps_per_epoch, 6)

    def run(self) -> None:
        """Train to the end, or until told to stop."""
        with closing(self.steps()) as steps:
            for _, batch, rate in steps:
                if self.finished:
                    break
                self.take_step(batch, rate)
                if evaluation_is_due(self.training, self.step, self.steps_per_epoch, self.total_steps):
                    self.evaluate()
                elif self.step % LOG_INTERVAL == 0:
                    self.log()
                stops = not self.finished and self.step < self.total_steps and self.told_to_stop()
                if stops or time.perf_counter() - self.last_save > SAVE_SECONDS:
                    self.log()
                    self.save()
                    self.last_save = self.clock = time.perf_counter()
                if stops:
                    return
        if not self.finished:
            self.finished = True
            self.save()

    def told_to_stop(self) -> bool:
        return self.should_stop()

    def steps(self) -> Iterator[tuple[int, Batch, float]]:
        """(step, batch, learning rate) of those that are left."""
        raise NotImplementedError

    def take_step(self, batch: Batch, rate: float) -> None:
        raise NotImplementedError

    def log(self) -> None:
        """Read the figures of the steps since the last reading, which waits for the device."""
        raise NotImplementedError

    def evaluate(self) -> None:
        """Read the figures, measure on dev, and keep the best parameters."""
        raise NotImplementedError

    def save(self) -> None:
        """Write what a resume needs."""
        raise NotImplementedError
