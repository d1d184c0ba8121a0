"""Training models side by side: one spec but for seed and data, a backend's `Ensemble`, one step for all.

Each model sees the batches, in the order, that `core/train/steps.py` would give it alone, and is judged as it would be.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from core.batch import Batch
from core.data.dataset import Dataset, Prepared, check_dataset
from core.data.stack import Stack
from core.engine.contract import Ensemble, EnsembleStats
from core.errors import UserError
from core.models.heads.head import Head
from core.models.heads.scores import Evaluation
from core.models.model import initial_parameters
from core.spec.experiment import Experiment
from core.spec.training import Training
from core.train.loop import TrainingLoop, finite_or_none
from core.train.metrics import EVALUATION_BATCH
from core.train.run_folder import TrainingState
from core.train.steps import order_of, rows_from


@dataclass(frozen=True)
class Member:
    """One of the models: its name, its whole spec, its data."""

    name: str
    experiment: Experiment
    data: Prepared


@dataclass
class Sums:
    """Over the steps since the last evaluation, for every model [M]."""

    loss: np.ndarray
    """As reduced."""
    right: np.ndarray
    steps: int = 0
    counted: int = 0

    @classmethod
    def none(cls, models: int) -> Sums:
        return cls(np.zeros(models), np.zeros(models))

    def add(self, stats: EnsembleStats) -> None:
        self.steps, self.counted = self.steps + 1, self.counted + stats.counted
        self.loss, self.right = self.loss + stats.loss, self.right + stats.right


@dataclass
class EnsembleState:
    """Where M models stand: `members` [M] in figures, the sums that the next evaluation reports, and the parameters of
    the best ones, arrays [M, ...]."""

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


class Observer(Protocol):
    """What is told of a run while it goes on."""

    def on_steps(self, first: int, stats: list[EnsembleStats]) -> None:
        """Figures of steps `first` (from 1), ..., in order."""

    def on_evaluation(self, step: int, lines: list[dict]) -> None:
        """Of every model a line `train`, means over the steps since the last evaluation, and a line `dev`."""


def check_members(members: list[Member]) -> Training:
    """The training that all share but for the seed. Raises UserError where models cannot go side by side."""
    first = members[0].experiment
    training = first.training
    for member in members:
        own = member.experiment
        if own.model != first.model or own.training.model_copy(update={"seed": training.seed}) != training:
            raise ValueError(f"{member.name}: another spec than {members[0].name}, not only another seed or other data")
        if len(member.data.train) != len(members[0].data.train):
            raise ValueError(f"{member.name}: {len(member.data.train)} examples, not {len(members[0].data.train)}")
        for dataset in (member.data.train, member.data.dev, member.data.test):
            check_dataset(dataset, own.model)
    for path, allowed in (("bucket_batches", (0, 1)), ("patience", (None,)), ("dropout_masks", ("shared",))):
        if getattr(training, path) not in allowed:
            raise UserError(
                f"training.{path} {getattr(training, path)}: models trained side by side take {allowed[0]} only"
            )
    return training


def starting_values(members: list[Member]) -> dict[str, np.ndarray]:
    """Every parameter, [M, ...]: the values that each model would start with alone."""
    each = [
        initial_parameters(own.model, own.training.seed, own.training.array_dtype)
        for own in (member.experiment for member in members)
    ]
    return {name: np.stack([own[name] for own in each]) for name in each[0]}


def steps_from(members: list[Member], stack: Stack, start: int = 0) -> Iterator[tuple[int, Batch, float]]:
    """Yield (step, batch, learning rate) from `start` to the end; of each model, `core.train.steps.steps_from`."""

    def orders(epoch: int) -> list[np.ndarray]:
        each = [order_of(member.experiment.training, member.data.train, epoch) for member in members]
        return [np.stack(rows) for rows in zip(*each, strict=True)]

    for step, rows, rate in rows_from(members[0].experiment, members[0].data.train, orders, start):
        yield step, stack.batch(rows), rate


def evaluate_each(ensemble: Ensemble, head: Head, datasets: list[Dataset]) -> list[Evaluation]:
    """Every model on its own set."""
    stack, found = Stack(datasets), []
    for start in range(0, len(stack), EVALUATION_BATCH):
        rows = np.arange(start, min(start + EVALUATION_BATCH, len(stack)))
        logits = ensemble.logits(stack.batch(np.tile(rows, (len(datasets), 1))))
        found.append(logits.reshape(len(datasets), len(rows), -1))
    logits = np.concatenate(found, axis=1)
    return [head.score(own, dataset.targets) for own, dataset in zip(logits, datasets, strict=True)]


def train_together(
    ensemble: Ensemble,
    members: list[Member],
    state: EnsembleState,
    observer: Observer,
    save: Callable[[EnsembleState], None],
    should_stop: Callable[[], bool] = lambda: False,
) -> EnsembleState:
    """Train from `state` to the end, or until `should_stop`. `save` is called as a run alone saves, and at the end.

    A model that diverges does not stop the others: its losses in the lines are None.
    """
    check_members(members)
    _Loop(ensemble, members, state, observer, save, should_stop).run()
    return state


class _Loop(TrainingLoop):
    def __init__(self, ensemble, members, state, observer, save, should_stop) -> None:
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

    def steps(self) -> Iterator[tuple[int, Batch, float]]:
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
    """Keep the parameters of every model that is better than it was."""
    evaluated = enumerate(zip(state.members, found, strict=True))
    better = [number for number, (own, evaluation) in evaluated if own.take(evaluation)]
    if better:
        for name, array in ensemble.parameters().items():
            state.best[name][better] = array[better]


def _lines(members: list[Member], state: EnsembleState, found: list[Evaluation], epoch: float) -> list[dict]:
    """What an observer is told of an evaluation. Of training, `loss` is the mean of the steps' losses as reduced."""
    sums, lines = state.sums, []
    for number, (member, dev) in enumerate(zip(members, found, strict=True)):
        where = {"run": member.name, "step": state.step, "epoch": epoch}
        loss, accuracy = float(sums.loss[number]) / sums.steps, float(sums.right[number]) / sums.counted
        train = {"counted": sums.counted, "steps": sums.steps, "loss": finite_or_none(loss), "accuracy": accuracy}
        lines.append({**where, "split": "train", **train})
        lines.append({**where, "split": "dev", "loss": finite_or_none(dev.loss), "accuracy": dev.accuracy})
    return lines
