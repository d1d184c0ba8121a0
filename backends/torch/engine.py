"""`Engine` of `core/engine/contract.py`: one model with its optimizer on one device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backends.engine_base import EngineBase
from backends.torch import adversarial
from backends.torch.dropout import Dropout, no_dropout, training_dropout
from backends.torch.fast import RowGradient
from backends.torch.framework import torch
from backends.torch.heads.decoder import select
from backends.torch.heads.pooled import class_weights
from backends.torch.model import Model
from backends.torch.optimizer import OPTIMIZERS, clip, squares_of
from backends.torch.precision import prepare, reads_rounded
from backends.torch.runtime import DeviceClock, Inputs, native_device, set_precision, to_numpy, to_tensor
from core import spec
from core.adversarial import random_directions
from core.batch import Batch
from core.engine.executor import Executor
from core.models.model import product_weights
from core.target_sequences import step_batch


class Engine(EngineBase):
    """See `core.engine.contract.Engine`."""

    def __init__(
        self,
        model: spec.Model,
        training: spec.Training,
        parameters: dict[str, np.ndarray],
        executor: Executor,
    ) -> None:
        self._keep(model, training, executor)
        set_precision(training.dtype, self.device)
        self._native_device = native_device(self.device)
        self._class_weights = class_weights(training, self._native_device)
        self._clock = DeviceClock(self._native_device)
        self._model = Model(model, training.array_dtype, self.implementation).to(self._native_device)
        self._model.assign(parameters)
        self._trainable = self._model.trainable
        self.product_weights = prepare(self._model, product_weights(model), training.dtype)
        embedding = self._model.embedding
        embedding.by_rows = self._tables_by_rows(embedding.lookup, self._trainable)
        self._rows: dict[str, RowGradient] = {}
        self._optimizer = OPTIMIZERS[training.optimizer.kind](training, self._trainable, embedding.by_rows)

    def _apply(self, loss: torch.Tensor, right: torch.Tensor, rates: dict[str, float]) -> torch.Tensor:
        """Clip the gradients and update; return loss, correct predictions and norm on the device.

        `rates` are the learning rates by part of the model. With `watch_gradients` the norms of the parameters
        `watched` follow.
        """
        named = self._gradients()
        gradients, norms = list(named.values()), []
        if self.training.watch_gradients:
            self.watched, norms = list(named), [squares_of(gradients).sqrt()]
        norm = clip(gradients, self.training.clip_mode, self.training.clip_norm)
        self._optimizer.step(rates, self._rows)
        figures = torch.stack([loss.detach(), right.to(loss.dtype), norm])
        return torch.cat([figures, *norms])

    def _gradients(self) -> dict[str, torch.Tensor]:
        """Return the gradients of the last backward pass by name; those of tables by rows are [U, E]."""
        found = {name: own.values for name, own in self._rows.items()}
        dense = {name: own.grad for name, own in self._trainable.items() if own.grad is not None}
        return {**found, **dense}

    def _read(self, figures: list[torch.Tensor]) -> list[list[float]]:
        """Read results of `_apply` of several steps; synchronizes the device."""
        return to_numpy(torch.stack(figures)).tolist()

    def logits(self, batch: Batch) -> np.ndarray:
        return to_numpy(self._forward(batch, no_dropout)["logits"])

    @reads_rounded
    def begin_decoding(self, batch: Batch) -> Any:
        with torch.no_grad():
            return self._model.begin_decoding(self._place(batch))

    @reads_rounded
    def decode_step(self, state: Any, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, Any]:
        with torch.no_grad():
            found, state = self._model.head.steps(state, self._place(step_batch(ids)), no_dropout)
        logits, weights = found["logits"], found.get("attention")
        return to_numpy(logits[:, 0]), None if weights is None else to_numpy(weights[:, 0]), state

    def select(self, state: Any, rows: np.ndarray) -> Any:
        return select(state, to_tensor(rows, self._native_device))

    def activations(self, batch: Batch, step: int | None = None) -> dict[str, np.ndarray]:
        dropout = no_dropout
        if step is not None:
            batch, dropout = self._with_dropped_words(batch, step), training_dropout(self.training, step)
        with self._all_layers():
            return {name: to_numpy(tensor) for name, tensor in self._forward(batch, dropout).items()}

    def gradients(self, batch: Batch, step: int) -> tuple[float, dict[str, np.ndarray]]:
        loss, _ = self._backward(batch, step)
        found = {name: p.grad for name, p in self._trainable.items()}
        found.update({name: own.dense() for name, own in self._rows.items()})
        return loss.item(), {name: to_numpy(gradient) for name, gradient in found.items()}

    def parameters(self) -> dict[str, np.ndarray]:
        return {name: to_numpy(parameter) for name, parameter in self._model.named.items()}

    def _place(self, batch: Batch) -> Inputs:
        return Inputs(batch, self.training.array_dtype, self._native_device)

    @reads_rounded
    def _forward(self, batch: Batch, dropout: Dropout) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            return self._model(self._place(batch), dropout)

    @reads_rounded
    def _backward(self, batch: Batch, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute all gradients; return loss and number of correct predictions on the device.

        Gradients are stored in the parameters, or in `_rows` for embedding gradients by rows. With several processes
        each computes its shard, and the results are summed over processes.
        """
        for parameter in self._model.named.values():
            parameter.grad = None
        batch = self._with_dropped_words(batch, step)
        shard = batch.sharded(self._group.rank, self._group.size)
        inputs = self._place(shard)
        self._clock.start()
        dropout = training_dropout(self.training, step, shard=shard.shard, drawn=shard.masks)

        def mean_of(losses: torch.Tensor, divisor: int) -> torch.Tensor:
            # The divisor is that of the full batch, as shards are summed. A substitute row has weight zero.
            loss = losses.sum() / divisor
            return loss * float(shard.shard.counts) if shard.shard else loss

        def loss_of(outputs: dict[str, torch.Tensor]) -> torch.Tensor:
            return mean_of(self._model.head.losses(outputs, inputs, self._class_weights), self._divisor(batch))

        virtual = self._virtual(batch, step, shard, lambda own: mean_of(own, self._text_divisor(batch)))
        perturbations = self.training.adversarial, virtual

        if any(perturbations):
            loss, outputs = adversarial.backpropagate(self._model, inputs, dropout, loss_of, perturbations)
        else:
            outputs = self._model(inputs, dropout)
            loss = loss_of(outputs)
            loss.backward()
        right = self._model.head.right(outputs, inputs).sum()
        if shard.shard:
            right = right * int(shard.shard.counts)
        self._rows = self._model.embedding.row_gradients(inputs, batch.ids, batch.targets.get("tokens"), shard.shard)
        return self._sums(loss, right) if shard.shard else (loss, right)

    def _virtual(
        self, batch: Batch, step: int, shard: Batch, mean_of: Callable[[torch.Tensor], torch.Tensor]
    ) -> adversarial.Virtual | None:
        """Return the virtual adversarial perturbation of a step for a `shard` of its batch, None without any."""
        training = self.training
        if not training.virtual_adversarial:
            return None
        drawn = random_directions(training.seed, step, batch, self._model.embedding.output_size)
        rows = drawn if shard.shard is None else drawn[shard.shard.chosen]
        directions = to_tensor(rows.astype(training.array_dtype), self._native_device)
        sizes = training.virtual_probe, training.virtual_adversarial, training.virtual_weight
        return adversarial.Virtual(directions, *sizes, mean_of)

    def _sums(self, loss: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum loss, correct predictions and gradients over all processes, in one all-reduce."""
        gradients = list(self._gradients().values())
        with torch.no_grad():
            figures = torch.stack([loss.detach(), right.to(loss.dtype)])
            whole = torch.cat([figures, *(gradient.reshape(-1) for gradient in gradients)])
            self._group.all_reduce(whole)
            pieces = whole[2:].split([gradient.numel() for gradient in gradients])
            for gradient, piece in zip(gradients, pieces, strict=True):
                gradient.copy_(piece.view_as(gradient))
        return whole[0], whole[1].to(right.dtype)
