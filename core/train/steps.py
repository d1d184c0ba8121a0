"""The steps of a run: their batches, learning rates, and evaluations on dev.

They are a function of the spec and the training set alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator

import numpy as np

from core.batch import Batch
from core.data.dataset import Dataset, epoch_order
from core.data.unlabeled_batches import joined, unlabeled_order
from core.spec.experiment import Experiment
from core.spec.training import Training, learning_rate


def total_steps(experiment: Experiment, train: Dataset) -> tuple[int, int]:
    """Return the number of steps per epoch and in the run."""
    per_epoch = math.ceil(len(train) / experiment.training.batch_size)
    return per_epoch, per_epoch * experiment.training.epochs


def steps_from(
    experiment: Experiment, train: Dataset, start: int = 0, unlabeled: Dataset | None = None
) -> Generator[tuple[int, Batch, float], None, None]:
    """Yield (step, batch, learning rate) of every step from `start` to the end.

    `unlabeled`: the texts that join every batch, for a spec with `training.unlabeled_batch_size`.
    """
    both = train if unlabeled is None else joined(train, unlabeled)

    def orders(epoch: int) -> list[np.ndarray]:
        batches = epoch_order(train.lengths, experiment.training, epoch)
        if unlabeled is None:
            return batches
        more = unlabeled_order(train.lengths, batches, unlabeled.lengths, experiment.training, epoch)
        return [np.concatenate((rows, len(train) + own)) for rows, own in zip(batches, more, strict=True)]

    for step, rows, rate in rows_from(experiment, train, orders, start):
        yield step, both.batch(rows), rate


def rows_from(
    experiment: Experiment, train: Dataset, orders: Callable[[int], list[np.ndarray]], start: int
) -> Iterator[tuple[int, np.ndarray, float]]:
    """Yield (step, row numbers, learning rate) from `start` to the end.

    `orders(epoch)` returns the rows of every batch of an epoch.
    """
    training = experiment.training
    per_epoch, total = total_steps(experiment, train)
    for epoch in range(start // per_epoch, training.epochs):
        first = max(start - epoch * per_epoch, 0)
        for step, rows in enumerate(orders(epoch)[first:], start=epoch * per_epoch + first):
            yield step, rows, learning_rate(training.schedule, training.optimizer.learning_rate, step, total)


def evaluation_is_due(training: Training, step: int, steps_per_epoch: int, total_steps: int) -> bool:
    """Return whether the model is evaluated on dev after `step` steps."""
    if step == total_steps or (training.eval_epochs and step % steps_per_epoch == 0):
        return True
    return training.eval_interval is not None and step % training.eval_interval == 0
