"""The training loop: one for all backends and models.

A run is a function of its spec: the batches of an epoch, the learning rate and the dropout of a step do not depend on
when or where the run was stopped. So a resume needs the parameters, the optimiser's moments and the step, no more.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from core.batch import Batch
from core.data.dataset import Dataset, check_dataset, epoch_order
from core.data.prefetch import prefetch, with_masks
from core.engine.contract import Engine
from core.engine.processes import SINGLE_PROCESS, ProcessGroup
from core.errors import UserError
from core.models.heads.scores import Evaluation
from core.spec.experiment import Experiment
from core.spec.training import Training, learning_rate
from core.train.metrics import evaluate
from core.train.run_folder import RunFolder, TrainingState

LOG_INTERVAL = 20
"""Steps between two readings of the figures, which wait for the device. Every step gets its line all the same."""
SAVE_SECONDS = 120.0
"""Longest training time that a power cut can cost."""


@dataclass(frozen=True)
class Interval:
    """What an observer is told: means over the steps since the last reading."""

    epoch: int
    step: int
    total_steps: int
    loss: float
    accuracy: float
    tokens_per_second: float


class Observer(Protocol):
    """How a program shows a run while it goes on."""

    def on_interval(self, interval: Interval) -> None: ...

    def on_evaluating(self, done: int, total: int) -> None: ...

    def on_evaluation(self, epoch: float, step: int, evaluation: Evaluation, is_best: bool) -> None: ...


def total_steps(experiment: Experiment, train: Dataset) -> tuple[int, int]:
    """Steps of an epoch, and of the whole run."""
    per_epoch = math.ceil(len(train) / experiment.training.batch_size)
    return per_epoch, per_epoch * experiment.training.epochs


def train(
    engine: Engine,
    experiment: Experiment,
    train_set: Dataset,
    dev_set: Dataset,
    folder: RunFolder,
    state: TrainingState,
    observer: Observer,
    should_stop: Callable[[], bool] = lambda: False,
    group: ProcessGroup = SINGLE_PROCESS,
) -> TrainingState:
    """Train from `state` to the end, or until `should_stop`; the folder then holds what a resume needs.

    Returns the state, `finished` if all epochs were run or patience ran out. `loss` in the metrics of a step is as the
    spec reduces it. Of several processes each calls this, with a folder that only the first writes to; they stop
    together, within LOG_INTERVAL steps.
    """
    for dataset in (train_set, dev_set):
        check_dataset(dataset, experiment.model)
    return _Loop(engine, experiment, train_set, dev_set, folder, state, observer, should_stop, group).run()


def steps_from(experiment: Experiment, train: Dataset, start: int = 0) -> Iterator[tuple[int, Batch, float]]:
    """(step, batch, learning rate) of every step of a run from `start` to the end: a function of the spec alone."""
    training = experiment.training
    per_epoch, total = total_steps(experiment, train)
    for epoch in range(start // per_epoch, training.epochs):
        order = order_of(training, train, epoch)
        first = max(start - epoch * per_epoch, 0)
        for step, rows in enumerate(order[first:], start=epoch * per_epoch + first):
            rate = learning_rate(training.schedule, training.optimizer.learning_rate, step, total)
            yield step, train.batch(rows), rate


def order_of(training: Training, train: Dataset, epoch: int) -> list[np.ndarray]:
    """Row numbers of every batch of an epoch."""
    size, buckets = training.batch_size, training.bucket_batches
    return epoch_order(train.lengths, size, buckets, training.seed, epoch, training.shuffle)


def evaluation_is_due(training: Training, step: int, steps_per_epoch: int, total_steps: int) -> bool:
    """Whether dev is looked at after `step` steps."""
    if step == total_steps or (training.eval_epochs and step % steps_per_epoch == 0):
        return True
    return training.eval_interval is not None and step % training.eval_interval == 0


def check_finite(loss: float, what: str, step: int) -> None:
    """Raises UserError where training has diverged: going on, or keeping such parameters, helps nobody."""
    if not math.isfinite(loss):
        cure = "lower `training.optimizer.learning_rate` or `training.clip_norm`"
        raise UserError(f"step {step}: {what} is {loss}: training diverged; {cure}")


def finite_or_none(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None


def device_share(lines: list[dict]) -> float | None:
    """Of the training time of these lines of metrics, how much the device worked on a step; the rest is waiting, for a
    batch or for who reads the figures. None where no line says."""
    known = [line for line in lines if line["split"] == "train" and line.get("device_share") is not None]
    # The speed is rounded to tenths, and to 0 where a step took very long: a process that was halted and went on.
    seconds = [line["tokens"] / max(line["tokens_per_second"], 0.05) for line in known]
    worked = sum(line["device_share"] * taken for line, taken in zip(known, seconds, strict=True))
    return worked / sum(seconds) if known else None


class _Loop:
    def __init__(self, engine, experiment, train_set, dev_set, folder, state, observer, should_stop, group) -> None:
        self.engine, self.experiment, self.training = engine, experiment, experiment.training
        self.train_set, self.dev_set = train_set, dev_set
        self.folder, self.state, self.observer, self.should_stop = folder, state, observer, should_stop
        self.group = group
        self.steps_per_epoch, self.total_steps = total_steps(experiment, train_set)
        self.pending: list[dict] = []
        self.clock = self.last_save = self.asked = time.perf_counter()
        self.asked_step = self.ask_at = state.step

    def run(self) -> TrainingState:
        state = self.state
        if state.step == 0:
            # Before the first step, so that a run stopped at any moment can be resumed.
            self.save()
        with closing(self.steps()) as steps:
            for _, batch, rate in steps:
                if state.finished:
                    break
                self.one_step(batch, rate)
                if evaluation_is_due(self.training, state.step, self.steps_per_epoch, self.total_steps):
                    self.evaluate()
                elif state.step % LOG_INTERVAL == 0:
                    self.log()
                if not state.finished and state.step < self.total_steps and self.told_to_stop():
                    self.log()
                    self.save()
                    return state
                if time.perf_counter() - self.last_save > SAVE_SECONDS:
                    self.log()
                    self.save()
        if not state.finished:
            state.finished = True
            self.save()
        return state

    def steps(self) -> Iterator[tuple[int, Batch, float]]:
        """Those that are left; for a GPU made ahead."""
        steps = steps_from(self.experiment, self.train_set, self.state.step)
        if self.engine.device == "cpu":
            return steps
        return prefetch((step, with_masks(batch, self.experiment, step), rate) for step, batch, rate in steps)

    def told_to_stop(self) -> bool:
        if self.group.size == 1:
            return self.should_stop()
        # All must stop after the same step. Asking costs a message, so it is done about once a second: launchers kill
        # who has not stopped after half a minute.
        if self.state.step < self.ask_at:
            return False
        now = time.perf_counter()
        wishes, seconds = self.group.sum(np.array([float(self.should_stop()), now - self.asked])) / self.group.size
        steps = self.state.step - self.asked_step
        self.asked, self.asked_step = now, self.state.step
        self.ask_at = self.state.step + min(max(int(steps / max(seconds, 1e-9)), 1), LOG_INTERVAL)
        return wishes > 0

    def one_step(self, batch: Batch, rate: float) -> None:
        state = self.state
        self.engine.train_step(batch, state.step, rate)
        state.step += 1
        state.tokens += batch.tokens
        self.pending.append(
            {
                "step": state.step,
                "epoch": round(state.step / self.steps_per_epoch, 6),
                "split": "train",
                "tokens": batch.tokens,
                "learning_rate": rate,
            }
        )

    def log(self) -> None:
        """Read the figures of the pending steps and write their lines."""
        if not self.pending:
            return
        stats, device = self.engine.collect(), self.engine.device_seconds()
        now = time.perf_counter()
        seconds, self.clock = now - self.clock, now
        self.state.seconds += seconds
        speed = sum(line["tokens"] for line in self.pending) / seconds
        share = None if device is None else round(device / seconds, 4)
        for line, step in zip(self.pending, stats, strict=True):
            line.update(
                counted=step.counted,
                loss=finite_or_none(step.loss),
                accuracy=step.right / step.counted,
                grad_norm=finite_or_none(step.grad_norm),
                tokens_per_second=round(speed, 1),
                device_share=share,
            )
        self.folder.append_metrics(self.pending)
        for line, step in zip(self.pending, stats, strict=True):
            check_finite(step.loss, "the loss", line["step"])
        weights = [1 if self.training.loss_reduction == "sum" else step.counted for step in stats]
        counted = sum(step.counted for step in stats)
        self.observer.on_interval(
            Interval(
                epoch=(self.state.step - 1) // self.steps_per_epoch + 1,
                step=self.state.step,
                total_steps=self.total_steps,
                loss=sum(weight * step.loss for weight, step in zip(weights, stats, strict=True)) / counted,
                accuracy=sum(step.right for step in stats) / counted,
                tokens_per_second=speed,
            )
        )
        self.pending = []

    def evaluate(self) -> None:
        """Measure on dev, keep the best parameters, and save."""
        self.log()
        state = self.state
        found = evaluate(
            self.engine.logits, self.experiment.model.head, self.dev_set, self.observer.on_evaluating, self.group
        )
        check_finite(found.loss, "the loss on dev", state.step)
        is_best = state.take(found)
        if is_best:
            self.folder.write_best(self.engine.parameters(), state.step)
        patience = self.training.patience
        state.finished = state.step == self.total_steps or bool(patience and state.evaluations_since_best >= patience)
        # Where looks at dev fall between the ends of epochs, the time of an epoch is not known to the second.
        while len(state.epoch_seconds) < state.step // self.steps_per_epoch:
            state.epoch_seconds.append(state.seconds - sum(state.epoch_seconds))
        epoch = round(state.step / self.steps_per_epoch, 6)
        line = {"step": state.step, "epoch": epoch, "split": "dev", "loss": found.loss, "accuracy": found.accuracy}
        self.folder.append_metrics([line])
        self.save()
        self.observer.on_evaluation(epoch, state.step, found, is_best)
        self.clock = time.perf_counter()

    def save(self) -> None:
        self.folder.write_last(self.engine.parameters(), self.engine.moments(), self.state)
        self.last_save = self.clock = time.perf_counter()
