"""Training of a single model by `core.train.loop.TrainingLoop`, with an observer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from core.batch import Batch
from core.data.dataset import Dataset, check_dataset, check_texts
from core.data.prefetch import prefetch, with_masks
from core.engine.contract import Engine
from core.engine.processes import SINGLE_PROCESS, ProcessGroup
from core.models.heads.scores import Evaluation
from core.spec.experiment import Experiment
from core.train.average import ParameterAverage
from core.train.loop import LOG_INTERVAL, TrainingLoop, check_finite, finite_or_none
from core.train.metrics import evaluate
from core.train.run_folder import RunFolder
from core.train.state import TrainingState
from core.train.steps import steps_from


@dataclass(frozen=True)
class Interval:
    """Means over the steps since the last report to the observer."""

    epoch: int
    step: int
    total_steps: int
    loss: float
    accuracy: float
    tokens_per_second: float
    grad_norms: dict[str, float] = field(default_factory=dict)
    """By parameter, with `training.watch_gradients`."""


@dataclass(frozen=True)
class Session:
    """A run to train from its state on."""

    experiment: Experiment
    train_set: Dataset
    dev_set: Dataset
    folder: RunFolder
    """Receives metrics and checkpoints."""
    state: TrainingState
    """Changes in training."""
    unlabeled: Dataset | None = None
    """Texts that join every batch, for a spec with `training.unlabeled_batch_size`."""


class Observer(Protocol):
    """Callbacks by which a program displays a run."""

    def on_interval(self, interval: Interval) -> None: ...

    def on_evaluating(self, done: int, total: int) -> None: ...

    def on_evaluation(self, epoch: float, step: int, evaluation: Evaluation, is_best: bool) -> None: ...


def train(
    engine: Engine,
    session: Session,
    observer: Observer,
    should_stop: Callable[[], bool] = lambda: False,
    group: ProcessGroup = SINGLE_PROCESS,
) -> TrainingState:
    """Train a session from its state to the end, or until `should_stop`.

    The folder then holds a checkpoint. Returns the state, `finished` after the last epoch or early stopping. The `loss`
    of a step in the metrics is reduced as in the spec. With several processes each calls this function, with a folder
    that only rank 0 writes to; they stop after the same step, within LOG_INTERVAL steps.
    """
    for dataset in (session.train_set, session.dev_set):
        check_dataset(dataset, session.experiment.model)
    if session.unlabeled is not None:
        check_texts(session.unlabeled, session.experiment.model)
    loop = _Loop(engine, session, observer, should_stop, group)
    if session.state.step == 0:
        loop.save()  # before the first step, so that a run stopped at any moment can be resumed
    loop.run()
    return session.state


def significant(norm: float) -> float | None:
    """Return a norm with six significant digits, None if it is not finite."""
    return float(f"{norm:.6g}") if math.isfinite(norm) else None


class _Loop(TrainingLoop):
    def __init__(self, engine: Engine, session: Session, observer: Observer, should_stop, group: ProcessGroup) -> None:
        super().__init__(session.experiment, session.train_set, should_stop)
        self.engine, self.observer, self.group = engine, observer, group
        self.train_set, self.dev_set = session.train_set, session.dev_set
        self.folder, self.state, self.unlabeled = session.folder, session.state, session.unlabeled
        self.pending: list[dict] = []
        mean = self.folder.read_average(self.experiment.model) if self.state.step else {}
        self.average = ParameterAverage(self.training, self.total_steps, mean)
        self.asked, self.asked_step, self.ask_at = self.clock, self.state.step, self.state.step

    @property
    def step(self) -> int:
        return self.state.step

    @property
    def finished(self) -> bool:
        return self.state.finished

    @finished.setter
    def finished(self, value: bool) -> None:
        self.state.finished = value

    def steps(self) -> Generator[tuple[int, Batch, float], None, None]:
        """Yield the remaining steps, prefetched for a GPU."""
        steps = steps_from(self.experiment, self.train_set, self.state.step, self.unlabeled)
        if self.engine.device == "cpu":
            return steps
        return prefetch((step, with_masks(batch, self.experiment, step), rate) for step, batch, rate in steps)

    def stop_requested(self) -> bool:
        if self.group.size == 1:
            return self.should_stop()
        # All processes must stop after the same step. The check is an all-reduce, so it runs about once per second,
        # well within the 30 s after which launchers kill a process.
        if self.state.step < self.ask_at:
            return False
        now = time.perf_counter()
        wishes, seconds = self.group.sum(np.array([float(self.should_stop()), now - self.asked])) / self.group.size
        steps = self.state.step - self.asked_step
        self.asked, self.asked_step = now, self.state.step
        self.ask_at = self.state.step + min(max(int(steps / max(seconds, 1e-9)), 1), LOG_INTERVAL)
        return wishes > 0

    def take_step(self, batch: Batch, rate: float) -> None:
        state = self.state
        self.engine.train_step(batch, state.step, rate)
        state.step += 1
        state.tokens += batch.tokens
        self.average.update(self.engine, state.step)
        self.pending.append(
            {
                "step": state.step,
                "epoch": self.epoch,
                "split": "train",
                "tokens": batch.tokens,
                "learning_rate": rate,
            }
        )

    def log(self) -> None:
        """Read the statistics of the pending steps and write their metrics."""
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
            if step.norms:
                line["grad_norms"] = {name: significant(norm) for name, norm in step.norms.items()}
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
                grad_norms={name: sum(step.norms[name] for step in stats) / len(stats) for name in stats[0].norms},
            )
        )
        self.pending = []

    def evaluate_start(self) -> None:
        if self.state.evaluations == 0:
            found = self._evaluated()
            self.state.evaluations = 1
            self._record(found, is_best=False)

    def evaluate(self) -> None:
        """Evaluate on dev, keep the best parameters, and save."""
        self.log()
        state = self.state
        with self.average.loaded(self.engine, state.step):
            found = self._evaluated()
            is_best = state.take(found)
            if is_best:
                self.folder.write_best(self.engine.parameters(), state.step)
        patience = self.training.patience
        state.finished = state.step == self.total_steps or bool(patience and state.evaluations_since_best >= patience)
        # With evaluations between ends of epochs, the time of an epoch is only known approximately.
        while len(state.epoch_seconds) < state.step // self.steps_per_epoch:
            state.epoch_seconds.append(state.seconds - sum(state.epoch_seconds))
        self._record(found, is_best)

    def _evaluated(self) -> Evaluation:
        found = evaluate(self.engine, self.experiment.model.head, self.dev_set, self.observer.on_evaluating, self.group)
        check_finite(found.loss, "the loss on dev", self.state.step)
        return found

    def _record(self, found: Evaluation, is_best: bool) -> None:
        """Write the metrics of an evaluation on dev, save and show it."""
        state = self.state
        line = {"step": state.step, "epoch": self.epoch, "split": "dev", "loss": found.loss, "accuracy": found.accuracy}
        self.folder.append_metrics([{**line, **found.quantities()}])
        self.save()
        self.observer.on_evaluation(self.epoch, state.step, found, is_best)
        self.clock = time.perf_counter()

    def save(self) -> None:
        self.folder.write_last(self.engine.parameters(), self.engine.moments(), self.state, self.average.mean)
        self.last_save = self.clock = time.perf_counter()
