"""Framework-independent base of the engines: order and bookkeeping of a training step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np

from core import spec
from core.batch import Batch
from core.engine.contract import StepStats
from core.engine.executor import Executor
from core.models.embedding import BIGRAM_TABLE, TABLE
from core.spec.part_rates import part_rates
from core.word_dropout import drop_words


class EngineBase:
    """Base class of both `Engine`s.

    A subclass implements `_backward`, `_apply` and `_read` in framework operations, and sets `_model`, `_clock` and
    `_optimizer`.
    """

    def _keep(self, model: spec.Model, training: spec.Training, executor: Executor) -> None:
        """Store the arguments of the constructor.

        Raises ValueError for an implementation that does not support the model.
        """
        if executor.implementation not in model.implementations:
            own = ", ".join(model.implementations)
            raise ValueError(f"implementation: got {executor.implementation}, expected one of {own} for this model")
        self.device, self.implementation, self.training = executor.device, executor.implementation, training
        self._group = executor.group
        self.seeds = [training.seed]
        """Seeds of dropout, one per model."""
        self._counted, self._sampled = model.head.counted, model.head.sampled
        self.watched: list[str] = []
        """Names of the parameters whose gradient norms a step records."""
        self._pending: list[tuple[object, int]] = []
        """Statistics of every step since the last `collect`, on the device, and its predictions."""

    def _tables_by_rows(self, lookup: str, trainable: Iterable[str]) -> tuple[str, ...]:
        """Return the embedding tables whose gradients are stored by rows, of which a batch uses few."""
        if self.implementation != "fast" or self.training.optimizer.kind != "adam":
            return ()
        possible = (TABLE, BIGRAM_TABLE) if lookup == "index" else (BIGRAM_TABLE,)
        return tuple(name for name in possible if name in trainable)

    def train_step(self, batch: Batch, step: int, learning_rate: float) -> None:
        found = self._backward(batch, step)
        rates = part_rates(self.training, step, learning_rate)
        self._pending.append((self._apply(*found, rates), self._counted(batch)))
        self._clock.stop()

    def collect(self) -> list[StepStats]:
        if not self._pending:
            return []
        pending, self._pending = self._pending, []
        rows = self._read([figures for figures, _ in pending])
        return [
            StepStats(loss, int(right), counted, norm, dict(zip(self.watched, norms, strict=True)))
            for (loss, right, norm, *norms), (_, counted) in zip(rows, pending, strict=True)
        ]

    @contextmanager
    def _all_layers(self) -> Iterator[None]:
        """Let the encoder return every layer within the block, those too that a training step does not need."""
        self._model.encoder.returns_layers = True
        try:
            yield
        finally:
            self._model.encoder.returns_layers = False

    def device_seconds(self) -> float | None:
        return self._clock.read()

    def moments(self) -> dict[str, np.ndarray]:
        return self._optimizer.moments()

    def load(self, parameters: dict[str, np.ndarray], moments: dict[str, np.ndarray], steps: int) -> None:
        self._model.assign(parameters)
        self._optimizer.load(moments, steps)

    def _with_dropped_words(self, batch: Batch, step: int) -> Batch:
        """Return the full batch as a training step reads it."""
        batch = self._sampled(batch, self.training.seed, step)
        return drop_words(batch, self.training.word_dropout, step, self.seeds)

    def _divisor(self, batch: Batch) -> int:
        """Return the divisor of the sum of losses."""
        return self._counted(batch) if self.training.loss_reduction == "mean" else 1

    def _text_divisor(self, batch: Batch) -> int:
        """Return the divisor of a sum over all texts, those without a label included."""
        return len(batch.lengths) if self.training.loss_reduction == "mean" else 1
