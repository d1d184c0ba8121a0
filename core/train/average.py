"""Average of the parameters over the last steps of a run (Izmailov et al. 2018).

It is computed here, in NumPy, for both frameworks. Which steps are averaged is a function of the spec and the number of
steps, so that a checkpoint needs to hold the mean alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.engine.contract import Engine
from core.models.types import Arrays
from core.spec.training import Training


def averaged_steps(training: Training, step: int, total: int) -> int:
    """Return how many of the first `step` of `total` steps are averaged: every `average_interval`-th from the end."""
    interval = training.average_interval
    first = total - interval * ((total - 1 - int(total * (1.0 - training.average_share))) // interval)
    if not training.average_share or step < first:
        return 0
    return (step - first) // interval + 1


class ParameterAverage:
    """The mean of the parameters after the averaged steps so far."""

    def __init__(self, training: Training, total: int, mean: Arrays) -> None:
        """Continue from `mean`, {} before the first averaged step."""
        self.training, self.total = training, total
        self.mean = {name: array.copy() for name, array in mean.items()}

    def update(self, engine: Engine, step: int) -> None:
        """Add the parameters after `step` steps, if it is an averaged one."""
        count = averaged_steps(self.training, step, self.total)
        if count == averaged_steps(self.training, step - 1, self.total):
            return
        parameters = engine.parameters()
        if count == 1:
            self.mean = parameters
            return
        for name, mean in self.mean.items():
            mean += (parameters[name] - mean) / mean.dtype.type(count)

    @contextmanager
    def loaded(self, engine: Engine, step: int) -> Iterator[None]:
        """Load the mean, if there is one, for the block; afterwards the engine has its own parameters again."""
        if not self.mean:
            yield
            return
        parameters, moments = engine.parameters(), engine.moments()
        engine.load(self.mean, moments, step)
        yield
        engine.load(parameters, moments, step)


def check_average(mean: Arrays, training: Training, step: int, total: int) -> bool:
    """Return whether a checkpoint of `step` has a mean exactly if it must have one."""
    return bool(mean) == (averaged_steps(training, step, total) > 0)
