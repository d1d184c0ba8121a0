"""Ensemble training: models that differ in seed and data only, trained in one step.

Each model sees the same batches, in the same order, as when trained alone (`core/train/steps.py`), and is evaluated in
the same way.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from core.batch import Batch
from core.data.dataset import Dataset, epoch_order
from core.data.stack import Stack
from core.engine.contract import Ensemble, EnsembleStats
from core.models.heads.head import Head
from core.models.heads.scores import Evaluation
from core.train.loop import TrainingLoop, finite_or_none
from core.train.members import Member, check_members
from core.train.metrics import EVALUATION_BATCH
from core.train.state import TrainingState
from core.train.steps import rows_from


@dataclass
class Sums:
    """Sums over the steps since the last evaluation, [M] for M models."""

    loss: np.ndarray
    """Losses as reduced by the spec."""
    right: np.ndarray
    steps: int = 0
    counted: int = 0

    @classmethod
    def none(cls, models: int) -> Sums:
        return cls(np.zeros(models), np.zeros(models))

    def tree(self) -> dict:
        """Return the sums for JSON; null for a loss that is not finite."""
        loss = [finite_or_none(value) for value in self.loss.tolist()]
        return {"loss": loss, "right": self.right.tolist(), "steps": self.steps, "counted": self.counted}

    @classmethod
    def read(cls, tree: Any, models: int) -> Sums:
        """Return the sums of `tree`. Raises KeyError, TypeError or ValueError for other JSON."""
        loss = np.array([math.nan if value is None else float(value) for value in tree["loss"]])
        right, counts = np.array(tree["right"], dtype=np.float64), (tree["steps"], tree["counted"])
        if {loss.shape, right.shape} != {(models,)} or any(type(count) is not int or count < 0 for count in counts):
            raise ValueError("other numbers of models or steps")
        return cls(loss, right, *counts)

    def add(self, stats: EnsembleStats) -> None:
        self.steps, self.counted = self.steps + 1, self.counted + stats.counted
        self.loss, self.right = self.loss + stats.loss, self.right + stats.right


@dataclass
class EnsembleState:
    """Training state of M models.

    `members`: training states [M]; `sums`: for the next evaluation; `best`: parameters of the best checkpoints, arrays
    [M, ...].
    """

    members: list[TrainingState]
    sums: Sums
    best: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def new(cls, models: int) -> EnsembleState:
        return cls([TrainingState() for _ in range(models)], Sums.none(models))

    @property
    def step(self) -> int:
        return self.members[0].step

    @property
    def finished(self) -> bool:
        return self.members[0].finished


@dataclass(frozen=True)
class EnsembleSession:
    """Models to train in one step, from their state on."""

    members: list[Member]
    state: EnsembleState
    """Changes in training."""


class Observer(Protocol):
    """Callbacks during ensemble training."""

    def on_steps(self, first: int, stats: list[EnsembleStats]) -> None:
        """Receive the statistics of consecutive steps from `first` (counted from 1)."""

    def on_evaluation(self, step: int, lines: list[dict]) -> None:
        """Receive a `train` line (means since the last evaluation) and a `dev` line per model."""


def steps_from(members: list[Member], stack: Stack, start: int = 0) -> Generator[tuple[int, Batch, float], None, None]:
    """Yield (step, batch, learning rate) from `start` to the end.

    The batch combines those of `core.train.steps.steps_from` for each model.
    """

    def orders(epoch: int) -> list[np.ndarray]:
        each = [epoch_order(member.data.train.lengths, member.experiment.training, epoch) for member in members]
        return [np.stack(rows) for rows in zip(*each, strict=True)]

    for step, rows, rate in rows_from(members[0].experiment, members[0].data.train, orders, start):
        yield step, stack.batch(rows), rate


def evaluate_each(ensemble: Ensemble, head: Head, datasets: list[Dataset]) -> list[Evaluation]:
    """Evaluate every model on its data set."""
    stack, found = Stack(datasets), []
    for start in range(0, len(stack), EVALUATION_BATCH):
        rows = np.arange(start, min(start + EVALUATION_BATCH, len(stack)))
        logits = ensemble.logits(stack.batch(np.tile(rows, (len(datasets), 1))))
        found.append(logits.reshape(len(datasets), len(rows), -1))
    logits = np.concatenate(found, axis=1)
    return [head.score(own, dataset.targets, dataset.classes) for own, dataset in zip(logits, datasets, strict=True)]


def train_together(
    ensemble: Ensemble,
    session: EnsembleSession,
    observer: Observer,
    save: Callable[[EnsembleState], None],
    should_stop: Callable[[], bool] = lambda: False,
) -> EnsembleState:
    """Train a session from its state to the end, or until `should_stop`.

    `save` is called as often as in a single run, and at the end. A model that diverges does not stop the others: its
    losses in the metrics are None.
    """
    check_members(session.members)
    _Loop(ensemble, session, observer, save, should_stop).run()
    return session.state


class _Loop(TrainingLoop):
    def __init__(self, ensemble: Ensemble, session: EnsembleSession, observer: Observer, save, should_stop) -> None:
        members, state = session.members, session.state
        super().__init__(members[0].experiment, members[0].data.train, should_stop)
        self.ensemble, self.members, self.state, self.observer = ensemble, members, state, observer
        self._save = save
        self.stack = Stack([member.data.train for member in members])
        self.read = state.step
        if not state.best:
            state.best = ensemble.parameters()

    @property
    def step(self) -> int:
        return self.state.step

    @property
    def finished(self) -> bool:
        return self.state.finished

    @finished.setter
    def finished(self, value: bool) -> None:
        for own in self.state.members:
            own.finished = value

    def steps(self) -> Generator[tuple[int, Batch, float], None, None]:
        return steps_from(self.members, self.stack, self.step)

    def take_step(self, batch: Batch, rate: float) -> None:
        self.ensemble.train_step(batch, self.step, rate)
        tokens = batch.lengths.reshape(len(self.members), -1).sum(axis=1)
        for own, count in zip(self.state.members, tokens, strict=True):
            own.step, own.tokens = own.step + 1, own.tokens + int(count)

    def log(self) -> None:
        stats = self.ensemble.collect()
        for figures in stats:
            self.state.sums.add(figures)
        self.observer.on_steps(self.read + 1, stats)
        self.read, now = self.step, time.perf_counter()
        for own in self.state.members:
            own.seconds += now - self.clock
        self.clock = now

    def evaluate(self) -> None:
        self.log()
        head = self.experiment.model.head
        found = evaluate_each(self.ensemble, head, [member.data.dev for member in self.members])
        _keep_best(self.ensemble, self.state, found)
        self.observer.on_evaluation(self.step, _lines(self.members, self.state, found, self.epoch))
        self.state.sums, self.clock = Sums.none(len(self.members)), time.perf_counter()

    def save(self) -> None:
        self._save(self.state)


def _keep_best(ensemble: Ensemble, state: EnsembleState, found: list[Evaluation]) -> None:
    """Keep the parameters of every model that improved."""
    evaluated = enumerate(zip(state.members, found, strict=True))
    better = [number for number, (own, evaluation) in evaluated if own.take(evaluation)]
    if better:
        for name, array in ensemble.parameters().items():
            state.best[name][better] = array[better]


def _lines(members: list[Member], state: EnsembleState, found: list[Evaluation], epoch: float) -> list[dict]:
    """Return the metrics lines of an evaluation.

    The training `loss` is the mean of the step losses as reduced by the spec.
    """
    sums, lines = state.sums, []
    for number, (member, dev) in enumerate(zip(members, found, strict=True)):
        where = {"run": member.name, "step": state.step, "epoch": epoch}
        loss, accuracy = float(sums.loss[number]) / sums.steps, float(sums.right[number]) / sums.counted
        train = {"counted": sums.counted, "steps": sums.steps, "loss": finite_or_none(loss), "accuracy": accuracy}
        lines.append({**where, "split": "train", **train})
        lines.append({**where, "split": "dev", "loss": finite_or_none(dev.loss), "accuracy": dev.accuracy})
    return lines
