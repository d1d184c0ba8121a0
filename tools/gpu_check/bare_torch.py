"""Baseline of the speed check: the framework's LSTM in a minimal training loop; and device measurements."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import torch

from backends.torch.runtime import native_device
from core import spec
from core.batch import Batch
from core.strings import shorten

nn, F = torch.nn, torch.nn.functional
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpyAsync", "cudaMemcpy")
"""CUDA calls that block the host, including copies from pageable memory."""


class Bare:
    """Embedding, one bidirectional LSTM on packed sequences, mean or max pooling, linear layer, Adam."""

    def __init__(self, model: spec.Model, training: spec.Training, device: str) -> None:
        self.device, self.model, self.training = native_device(device), model, training
        width, hidden = model.embedding.dim, model.encoder.hidden_size
        self.embedding = nn.Embedding(model.embedding.vocab_size, width, padding_idx=0)
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(2 * hidden, model.head.outputs)
        self.layers = nn.ModuleList([self.embedding, self.lstm, self.linear]).to(self.device)
        self.optimizer = torch.optim.Adam(self.layers.parameters(), lr=training.optimizer.learning_rate)

    def step(self, batch: Batch) -> None:
        ids, labels = (torch.from_numpy(array).to(self.device) for array in (batch.ids, batch.labels))
        lengths, head = torch.from_numpy(batch.lengths), self.model.head
        x = F.dropout(self.embedding(ids), self.model.embedding.dropout)
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        lowest = float("-inf") if head.pooling == "max" else 0.0
        y, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True, padding_value=lowest)
        pooled = y.amax(1) if head.pooling == "max" else y.sum(1) / lengths.to(self.device)[:, None]
        loss = F.cross_entropy(self.linear(F.dropout(pooled, head.dropout)), labels)
        self.optimizer.zero_grad()
        loss.backward()
        if self.training.clip_mode == "global":
            nn.utils.clip_grad_norm_(self.layers.parameters(), self.training.clip_norm)
        self.optimizer.step()


def wait(device: str) -> None:
    """Wait until the device has finished its work."""
    if device != "cpu":
        torch.cuda.synchronize(native_device(device))


def peak_bytes(device: str) -> int | None:
    """Return the peak memory of this process's tensors on the device; None on a CPU."""
    return None if device == "cpu" else torch.cuda.max_memory_allocated(native_device(device))


def waits(run: Callable[[], object], device: str) -> list[str] | None:
    """Return the framework's messages about operations in `run` that block the host; None if unavailable."""
    if device == "cpu":
        return None
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return [shorten(str(note.message), 80) for note in seen if "synchroniz" in str(note.message)]


def shares(run: Callable[[], None], device: str) -> tuple[float, float] | None:
    """Return the shares of time that the host waits and the device computes in `run`, or None.

    The time includes the overhead of the profiler.
    """
    activities = torch.profiler.ProfilerActivity
    began = time.perf_counter()
    with torch.profiler.profile(activities=[activities.CPU, *([] if device == "cpu" else [activities.CUDA])]) as seen:
        run()
        total = (time.perf_counter() - began) * 1e6
    events = seen.key_averages()
    waited = sum(event.self_cpu_time_total for event in events if event.key in WAITS)
    on_cpu = torch.autograd.DeviceType.CPU
    # Before torch 2.4, the name contained `cuda`.
    busy = sum(
        getattr(event, "self_device_time_total", 0) or getattr(event, "self_cuda_time_total", 0)
        for event in events
        if event.device_type != on_cpu
    )
    return waited / total, busy / total
