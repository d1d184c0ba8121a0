"""Versions and devices of the framework, and conversion between NumPy arrays and tensors."""

from __future__ import annotations

import time
from functools import cached_property

import numpy as np

from backends import trial
from backends.torch.framework import torch
from core import batch
from core.batch import Batch, first_index, last_index, noise_of, packing, reversal_index
from core.engine import devices, tf32
from core.engine.devices import Build, Gpu
from core.models.bigrams import bigram_ids
from core.models.encoders.encoder import Encoder
from core.models.ngrams import ngrams_of, spread
from core.target_sequences import decoder_batch

NAME = "torch"


def versions() -> dict[str, str]:
    """Return the framework's version and the CUDA version of its build (`none` for a CPU build)."""
    return {"torch": torch.__version__, "cuda": torch.version.cuda or "none"}


def build() -> Build:
    """Return version, CUDA version and architectures of the installed build."""
    own = versions()
    install = "a build of torch for your GPU, from https://pytorch.org/get-started/locally"
    return Build(NAME, own[NAME], own["cuda"], tuple(torch.cuda.get_arch_list()), install)


def gpus() -> list[Gpu]:
    """Return the GPUs visible to the framework, whether or not it has kernels for them."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = [torch.cuda.get_device_properties(number) for number in range(count)]
    return [Gpu(number, gpu.name, gpu.total_memory, (gpu.major, gpu.minor)) for number, gpu in enumerate(found)]


def resolve_device(request: str, dtype: str = "float32") -> str:
    """Resolve `auto | cpu | gpu | gpu:N` to `cpu` or `gpu:N` (`core/engine/devices.py`).

    Raises UserError if a requested GPU is not usable, or if the device does not support the dtype.
    """
    device = devices.resolve(request, dtype, build(), gpus, trial.run_trial)
    set_precision(dtype, device)
    return device


def set_precision(dtype: str, device: str) -> None:
    """Switch TF32 on or off for the process, in matrix products and cuDNN's recurrent layers."""
    allowed = tf32.settle_tf32(dtype, device)
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


ONE_KERNEL = {"srn": 256, "gru": 128, "lstm": 128}
"""Largest hidden size, by cell, for which cuDNN trains on padded input in one kernel.

These are the limits in PyTorch. On packed input cuDNN launches several kernels per time step instead.
"""


def preferred_on_gpu(encoder: Encoder, dtype: str) -> tuple[str, ...]:
    """Return implementations in order of preference on a GPU (`backends.implementations`).

    One kernel over padded input is 4 to 9 times as fast as one kernel per step over real tokens (docs/gpu.md). The
    errors of its outputs are 1e-5, those of the others 1e-6. Without such a kernel, packed input is as fast or faster.
    """
    largest = ONE_KERNEL.get(getattr(encoder, "cell", ""), 0)
    one_kernel = dtype != "float64" and getattr(encoder, "hidden_size", 0) <= largest
    first = ("builtin", "packed") if one_kernel else ("packed", "builtin")
    return (*first, "loop", "fast")


def native_device(device: str) -> torch.device:
    """Return the framework's device for `cpu` or `gpu:N`."""
    return torch.device("cpu") if device == "cpu" else torch.device("cuda", int(device.partition(":")[2]))


def to_tensor(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return a tensor on `device` with the values and dtype of `array`."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    # A copy from pinned memory is queued on the GPU, and the host continues.
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """Return a C-contiguous copy; synchronizes the device."""
    return np.array(tensor.detach().cpu().numpy(), order="C", copy=True)


class Windows:
    """`core.batch.Windows` as tensors of the model's dtype, created lazily."""

    def __init__(self, windows: batch.Windows, dtype: str, device: torch.device) -> None:
        self._windows, self._dtype, self._device = windows, dtype, device

    @cached_property
    def mask(self) -> torch.Tensor:
        """Start positions of windows, [B, L, 1], 1 or 0."""
        return to_tensor(self._windows.mask.astype(self._dtype), self._device)

    @cached_property
    def counts(self) -> torch.Tensor:
        """Number of windows per sequence, [B, 1]."""
        return to_tensor(self._windows.counts.astype(self._dtype), self._device)


class Inputs:
    """A batch on the device: `ids` [B, L], `targets` by name, and on the host `lengths` [B].

    Tensors that only some implementations use are created lazily. The compiled kernels use the host's `lengths`.
    """

    def __init__(self, of: Batch, dtype: str, device: torch.device) -> None:
        """Copy a batch to `device`. Floating-point tensors get `dtype`, the model's."""
        self._batch, self._dtype, self._device = of, dtype, device
        self.ids = to_tensor(of.ids, device)
        self.targets = {name: to_tensor(array, device) for name, array in of.targets.items()}
        self.noise = None if of.noise is None else to_tensor(of.noise.ids, device)
        self._windows: dict[int, Windows] = {}
        self.lengths = to_tensor(of.lengths, torch.device("cpu"))

    def windows(self, width: int) -> Windows:
        """Return the windows of `width` as tensors (`core.batch.Windows`)."""
        if width not in self._windows:
            self._windows[width] = Windows(batch.Windows(self._batch, width), self._dtype, self._device)
        return self._windows[width]

    def bigrams(self, rows: int) -> torch.Tensor:
        """Return the bigram of every token in a table of `rows`, [B, L] int64 (`core/models/bigrams.py`)."""
        return to_tensor(bigram_ids(self._batch.ids, rows), self._device)

    @cached_property
    def noise_logs(self) -> torch.Tensor:
        """Logarithms of the expected numbers of words among the noise, [V] (`core.batch.Noise`)."""
        return to_tensor(noise_of(self._batch).logs.astype(self._dtype), self._device)

    def all_words(self, size: int) -> torch.Tensor:
        """Return the ids of all words but PAD in a table of `size`, [V - 1]."""
        return to_tensor(np.arange(1, size), self._device)

    @cached_property
    def ngram_values(self) -> torch.Tensor:
        """Values of n-grams [B, L, V] (`core.batch.NgramBatch`)."""
        return to_tensor(ngrams_of(self._batch).values.astype(self._dtype, copy=False), self._device)

    def ngram_logits(self, outputs: int) -> torch.Tensor:
        """Return the logits of the linear model of n-grams, [B, outputs]."""
        found = spread(ngrams_of(self._batch).logits, outputs)
        return to_tensor(found.astype(self._dtype, copy=False), self._device)

    @property
    def mask(self) -> torch.Tensor:
        """Real tokens, [B, L, 1], 1 or 0."""
        return self.windows(1).mask

    @cached_property
    def decoder(self) -> Inputs:
        """The input of a decoder in training (`core.target_sequences.decoder_batch`)."""
        return Inputs(decoder_batch(self._batch), self._dtype, self._device)

    @cached_property
    def reversal(self) -> torch.Tensor:
        """Rows [B * L] of a flattened [B * L, D] that reverse each sequence (`core.batch`)."""
        return to_tensor(reversal_index(self._batch), self._device)

    @cached_property
    def first(self) -> torch.Tensor:
        """Rows [B] of the first tokens in a flattened [B * L, D]."""
        return to_tensor(first_index(self._batch), self._device)

    @cached_property
    def last(self) -> torch.Tensor:
        """Rows [B] of the last real tokens in a flattened [B * L, D]."""
        return to_tensor(last_index(self._batch), self._device)

    @cached_property
    def packing(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Lengths for the built-in layers: `order`, `sizes` and `place` of `core.batch.packing`.

        The sizes are on the host, as cuDNN requires.
        """
        order, sizes, place = packing(self._batch)
        return to_tensor(order, self._device), torch.from_numpy(sizes), to_tensor(place, self._device)


class DeviceClock:
    """Device time in seconds from each `start` to the next `stop`.

    On a GPU it is measured between two recorded events, without synchronizing the host.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._started = None
        self._laps: list[tuple] = []

    def start(self) -> None:
        self._started = self._mark()

    def stop(self) -> None:
        self._laps.append((self._started, self._mark()))

    def read(self) -> float | None:
        """Return the seconds since the last call, after the device passed the last `stop`.

        None if the framework cannot measure it.
        """
        laps, self._laps = self._laps, []
        if self._device.type == "cpu":
            return sum(stop - start for start, stop in laps)
        return sum(start.elapsed_time(stop) for start, stop in laps) / 1000

    def _mark(self):
        if self._device.type == "cpu":
            return time.perf_counter()
        mark = torch.cuda.Event(enable_timing=True)
        mark.record(torch.cuda.current_stream(self._device))
        return mark
