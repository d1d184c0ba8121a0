"""Baseline of the speed check: the framework's LSTM in a minimal training loop; and device measurements."""

from __future__ import annotations

from collections.abc import Callable

import paddle

from backends.paddle.runtime import native_device
from core import spec
from core.batch import Batch

nn, F = paddle.nn, paddle.nn.functional


class Bare:
    """Embedding, one bidirectional LSTM with lengths, mean or max pooling, linear layer, Adam."""

    def __init__(self, model: spec.Model, training: spec.Training, device: str) -> None:
        paddle.device.set_device(device)
        self.device, self.model, self.training = native_device(device), model, training
        width, hidden = model.embedding.dim, model.encoder.hidden_size
        self.embedding = nn.Embedding(model.embedding.vocab_size, width, padding_idx=0)
        self.lstm = nn.LSTM(width, hidden, direction="bidirect")
        self.linear = nn.Linear(2 * hidden, model.head.outputs)
        self.layers = nn.LayerList([self.embedding, self.lstm, self.linear])
        clips = training.clip_mode == "global"
        self.optimizer = paddle.optimizer.Adam(
            training.optimizer.learning_rate,
            parameters=self.layers.parameters(),
            grad_clip=nn.ClipGradByGlobalNorm(training.clip_norm) if clips else None,
        )

    def step(self, batch: Batch) -> None:
        ids, lengths, labels = (
            paddle.to_tensor(array, place=self.device) for array in (batch.ids, batch.lengths, batch.labels)
        )
        head = self.model.head
        x = F.dropout(self.embedding(ids), self.model.embedding.dropout)
        y, _ = self.lstm(x, sequence_length=lengths)
        if head.pooling == "max":
            real = F.sequence_mask(lengths, ids.shape[1], "float32")
            pooled = (y + ((real - 1.0) * 1e9)[:, :, None]).max(1)
        else:
            pooled = y.sum(1) / lengths.astype("float32")[:, None]
        loss = F.cross_entropy(self.linear(F.dropout(pooled, head.dropout)), labels)
        loss.backward()
        self.optimizer.step()
        self.optimizer.clear_grad()


def wait(device: str) -> None:
    """Wait until the device has finished its work."""
    if device != "cpu":
        paddle.device.cuda.synchronize(native_device(device))


def peak_bytes(device: str) -> int | None:
    """Return the peak memory of this process's tensors on the device; None on a CPU."""
    return None if device == "cpu" else paddle.device.cuda.max_memory_allocated(native_device(device))


def waits(run: Callable[[], object], device: str) -> list[str] | None:
    """Return the framework's messages about operations in `run` that block the host; None if unavailable."""
    return None


def shares(run: Callable[[], None], device: str) -> tuple[float, float] | None:
    """Return the shares of time that the host waits and the device computes in `run`, or None.

    The time includes the overhead of the profiler.
    """
    return None  # the profiler's event names are unknown: no GPU was available to look them up
