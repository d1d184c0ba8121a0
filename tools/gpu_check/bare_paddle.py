"""The framework's own LSTM in a bare training loop, what seqtwin's steps are timed against; and the device's gauges."""

from __future__ import annotations

from collections.abc import Callable

import paddle

from backends.paddle.runtime import native_device
from core import spec
from core.batch import Batch

nn, F = paddle.nn, paddle.nn.functional


class Bare:
    """Embedding, one bidirectional LSTM on given lengths, mean or max pooling, linear, Adam, as one types it in."""

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
    """Until the device has done what it was told."""
    if device != "cpu":
        paddle.device.cuda.synchronize(native_device(device))


def peak_bytes(device: str) -> int | None:
    """Most that tensors held on the device in this process; None on a CPU."""
    return None if device == "cpu" else paddle.device.cuda.max_memory_allocated(native_device(device))


def waits(run: Callable[[], object], device: str) -> list[str] | None:
    """What in `run` made the host wait for the device, as the framework tells it; None where it does not say."""
    return None


def shares(run: Callable[[], None], device: str) -> tuple[float, float] | None:
    """Of the time of `run`: how much the host stood waiting, and how much the device computed. The profiler's own work
    is in that time. None where the framework is not asked."""
    return None  # what its profiler calls these could not be looked up without a GPU
