"""The training loop of models side by side: one spec but for seed and data, a backend's `Ensemble`, one step for all.

Each model sees the batches, in the order, that `core/train/loop.py` would give it alone, and is judged as it would be.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from core.batch import Batch
from core.data.dataset import Dataset, Prepared, check_dataset
from core.engine.contract import Ensemble, EnsembleStats
from core.errors import UserError
from core.models.heads.head import Head
from core.models.heads.scores import Evaluation
from core.models.model import initial_parameters
from core.spec.experiment import Experiment
from core.spec.training import Training, learning_rate
from core.train.loop import SAVE_SECONDS, evaluation_is_due, finite_or_none, order_of, total_steps
from core.train.metrics import EVALUATION_BATCH
from core.train.run_folder import TrainingState

READ_INTERVAL = 50
"""Steps between two readings of the figures, at most."""


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


class Stack:
    """Data sets of M models, equally many sequences in each: `batch(rows)`, with rows [M, B], is a batch of all."""

    def __init__(self, datasets: list[Dataset]) -> None:
        width = max(int(dataset.lengths.max()) for dataset in datasets)
        batches = [dataset.batch(np.arange(len(dataset))) for dataset in datasets]
        self._ids = np.stack([np.pad(b.ids, ((0, 0), (0, width - b.ids.shape[1]))) for b in batches])
        self._lengths = np.stack([b.lengths for b in batches])
        self._targets = {name: np.stack([b.targets[name] for b in batches]) for name in batches[0].targets}
        self._models = np.arange(len(datasets))[:, None]

    def __len__(self) -> int:
        """Sequences of each model."""
        return self._lengths.shape[1]

    def batch(self, rows: np.ndarray) -> Batch:
        lengths = self._lengths[self._models, rows].reshape(-1)
        ids = self._ids[self._models, rows].reshape(len(lengths), -1)[:, : lengths.max()]
        targets = {name: array[self._models, rows].reshape(-1) for name, array in self._targets.items()}
        return Batch(np.ascontiguousarray(ids), lengths, targets)


def steps_from(members: list[Member], stack: Stack, start: int = 0) -> Iterator[tuple[Batch, float]]:
    """(batch, learning rate) of every step from `start` to the end; of each model, `core.train.loop.steps_from`."""
    training = members[0].experiment.training
    per_epoch, total = total_steps(members[0].experiment, members[0].data.train)
    for epoch in range(start // per_epoch, training.epochs):
        orders = [order_of(member.experiment.training, member.data.train, epoch) for member in members]
        for step in range(max(start, epoch * per_epoch), (epoch + 1) * per_epoch):
            rate = learning_rate(training.schedule, training.optimizer.learning_rate, step, total)
            yield stack.batch(np.stack([order[step - epoch * per_epoch] for order in orders])), rate


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
    """Train from `state` to the end, or until `should_stop`. `save` is called now and then and before returning.

    A model that diverges does not stop the others: its losses in the lines are None.
    """
    training = check_members(members)
    stack, dev = Stack([member.data.train for member in members]), [member.data.dev for member in members]
    per_epoch, total = total_steps(members[0].experiment, members[0].data.train)
    if not state.best:
        state.best = ensemble.parameters()
    first = state.step + 1
    last_save = clock = time.perf_counter()
    for batch, rate in steps_from(members, stack, state.step):
        ensemble.train_step(batch, state.step, rate)
        step = state.step + 1
        tokens = batch.lengths.reshape(len(members), -1).sum(axis=1)
        for own, count in zip(state.members, tokens, strict=True):
            own.step, own.tokens = step, own.tokens + int(count)
        evaluating = evaluation_is_due(training, step, per_epoch, total)
        stopping = should_stop() and step < total
        saving = stopping or time.perf_counter() - last_save > SAVE_SECONDS
        if evaluating or saving or step % READ_INTERVAL == 0:
            stats = ensemble.collect()
            for figures in stats:
                state.sums.add(figures)
            observer.on_steps(first, stats)
            now = time.perf_counter()
            for own in state.members:
                own.seconds += now - clock
            first, clock = step + 1, now
        if evaluating:
            found = evaluate_each(ensemble, members[0].experiment.model.head, dev)
            _keep_best(ensemble, state, found)
            observer.on_evaluation(step, _lines(members, state, found, round(step / per_epoch, 6)))
            state.sums, clock = Sums.none(len(members)), time.perf_counter()
        if step == total:
            for own in state.members:
                own.finished = True
        elif saving:
            save(state)
            last_save = clock = time.perf_counter()
        if stopping:
            return state
    save(state)
    return state


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
