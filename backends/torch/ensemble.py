"""`Ensemble` of `core/engine/contract.py`: models of one spec in stacked arrays."""

from __future__ import annotations

import numpy as np

from backends.torch.dropout import training_dropout
from backends.torch.engine import Engine
from backends.torch.framework import torch
from backends.torch.heads.pooled import class_weights
from backends.torch.model import Model
from backends.torch.optimizer import OPTIMIZERS, clip_each
from backends.torch.precision import prepare, reads_rounded
from backends.torch.runtime import native_device, set_precision, to_numpy
from core import spec
from core.batch import Batch
from core.engine.contract import EnsembleStats
from core.engine.executor import Executor
from core.models.model import product_weights
from core.spec.part_rates import part_rates


class Ensemble(Engine):
    """See `core.engine.contract.Ensemble`.

    Methods that do not depend on the model axis are inherited.
    """

    def __init__(
        self,
        model: spec.Model,
        training: spec.Training,
        seeds: list[int],
        parameters: dict[str, np.ndarray],
        executor: Executor,
    ) -> None:
        self._keep(model, training, executor)
        self.seeds = seeds
        set_precision(training.dtype, self.device)
        self._native_device = native_device(self.device)
        self._class_weights = class_weights(training, self._native_device)
        self._model = Model(model, training.array_dtype, self.implementation, len(seeds)).to(self._native_device)
        self._model.assign(parameters)
        self._trainable = self._model.trainable
        self.product_weights = prepare(self._model, product_weights(model), training.dtype)
        self._optimizer = OPTIMIZERS[training.optimizer.kind](training, self._trainable, ())

    def train_step(self, batch: Batch, step: int, learning_rate: float) -> None:
        losses, right = self._backward(batch, step)
        gradients = [parameter.grad for parameter in self._trainable.values()]
        norms = clip_each(gradients, self.training.clip_mode, self.training.clip_norm)
        self._optimizer.step(part_rates(self.training, step, learning_rate), {})
        figures = [losses.detach().unsqueeze(0), right.to(losses.dtype).unsqueeze(0), norms]
        self._pending.append((torch.cat(figures), self._counted(batch) // len(self.seeds)))

    def collect(self) -> list[EnsembleStats]:
        pending, self._pending, names = self._pending, [], tuple(self._trainable)
        return [
            EnsembleStats(loss, right, counted, dict(zip(names, norms, strict=True)))
            for (loss, right, *norms), counted in ((to_numpy(figures), counted) for figures, counted in pending)
        ]

    def gradients(self, batch: Batch, step: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        losses, _ = self._backward(batch, step)
        return to_numpy(losses), {name: to_numpy(parameter.grad) for name, parameter in self._trainable.items()}

    @reads_rounded
    def _backward(self, batch: Batch, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute all gradients; return losses and numbers of correct predictions per model, [M]."""
        for parameter in self._model.named.values():
            parameter.grad = None
        inputs = self._place(self._with_dropped_words(batch, step))
        outputs = self._model(inputs, training_dropout(self.training, step, self.seeds))
        losses = self._model.head.losses(outputs, inputs, self._class_weights).reshape(len(self.seeds), -1)
        losses = losses.mean(1) if self.training.loss_reduction == "mean" else losses.sum(1)
        losses.sum().backward()  # no model's loss depends on another's parameters
        return losses, self._model.head.right(outputs, inputs).reshape(len(self.seeds), -1).sum(1)
