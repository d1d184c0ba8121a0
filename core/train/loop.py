"""The training loop of all backends, for single models and ensembles.

A run is a function of its spec: the batches of an epoch, and the learning rate and dropout masks of a step, do not
depend on interruptions. A resume therefore needs only the parameters, the optimizer's moments and the step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing

from core.batch import Batch
from core.data.dataset import Dataset
from core.errors import UserError
from core.spec.experiment import Experiment
from core.train.steps import evaluation_is_due, total_steps

LOG_INTERVAL = 20
"""Steps between reads of the statistics, which synchronize the device.

Every step is still logged.
"""
SAVE_SECONDS = 120.0
"""Maximum seconds of training between checkpoints."""


def check_finite(loss: float, what: str, step: int) -> None:
    """Raise UserError if training diverged, so that no such parameters are kept."""
    if not math.isfinite(loss):
        fix = "lower `training.optimizer.learning_rate` or `training.clip_norm`"
        raise UserError(f"step {step}: {what} is {loss}, training diverged: {fix}")


def finite_or_none(value: float) -> float | None:
    """Return a finite value, otherwise None: JSON has no NaN or infinity."""
    return value if math.isfinite(value) else None


class TrainingLoop:
    """The order of steps, evaluations, logging and checkpoints of a run.

    Subclasses implement these operations, and provide `step`, the number of steps taken, and `finished`.
    """

    def __init__(self, experiment: Experiment, train_set: Dataset, should_stop: Callable[[], bool]) -> None:
        self.experiment, self.training, self.should_stop = experiment, experiment.training, should_stop
        self.steps_per_epoch, self.total_steps = total_steps(experiment, train_set)
        self.clock = self.last_save = time.perf_counter()

    @property
    def step(self) -> int:
        raise NotImplementedError

    @property
    def finished(self) -> bool:
        raise NotImplementedError

    @finished.setter
    def finished(self, value: bool) -> None:
        raise NotImplementedError

    @property
    def epoch(self) -> float:
        """Number of epochs so far, as in the metrics."""
        return round(self.step / self.steps_per_epoch, 6)

    def run(self) -> None:
        """Train to the end, or until a stop is requested."""
        if self.training.eval_start and self.step == 0:
            self.evaluate_start()
        with closing(self.steps()) as steps:
            for _, batch, rate in steps:
                if self.finished:
                    break
                self.take_step(batch, rate)
                if evaluation_is_due(self.training, self.step, self.steps_per_epoch, self.total_steps):
                    self.evaluate()
                elif self.step % LOG_INTERVAL == 0:
                    self.log()
                stops = not self.finished and self.step < self.total_steps and self.stop_requested()
                if stops or time.perf_counter() - self.last_save > SAVE_SECONDS:
                    self.log()
                    self.save()
                    self.last_save = self.clock = time.perf_counter()
                if stops:
                    return
        if not self.finished:
            self.finished = True
            self.save()

    def stop_requested(self) -> bool:
        return self.should_stop()

    def steps(self) -> Generator[tuple[int, Batch, float], None, None]:
        """Yield (step, batch, learning rate) of the remaining steps."""
        raise NotImplementedError

    def take_step(self, batch: Batch, rate: float) -> None:
        raise NotImplementedError

    def log(self) -> None:
        """Read the statistics of the steps since the last call; this synchronizes the device."""
        raise NotImplementedError

    def evaluate_start(self) -> None:
        """Evaluate on dev before the first step, unless that was done before a resume."""
        raise NotImplementedError

    def evaluate(self) -> None:
        """Read the statistics, evaluate on dev and keep the best parameters."""
        raise NotImplementedError

    def save(self) -> None:
        """Write a checkpoint."""
        raise NotImplementedError
