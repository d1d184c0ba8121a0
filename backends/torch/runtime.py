"""Importing the framework, choosing the device, and the border between NumPy and tensors."""

from __future__ import annotations

import time
from functools import cached_property

import numpy as np

from backends import trial
from backends.torch.framework import torch
from core import batch
from core.batch import Batch, first_index, last_index, packing, reversal_index
from core.engine import devices, tf32
from core.engine.devices import Build, Gpu
from core.models.encoders.encoder import Encoder

NAME = "torch"


def versions() -> dict[str, str]:
    """The framework's version and the CUDA version it was built for (`none` for a CPU build)."""
    return {"torch": torch.__version__, "cuda": torch.version.cuda or "none"}


def build() -> Build:
    """Version, CUDA and architectures of the framework as it is installed."""
    own = versions()
    install = "a build of torch for your GPU, from https://pytorch.org/get-started/locally"
    return Build(NAME, own[NAME], own["cuda"], tuple(torch.cuda.get_arch_list()), install)


def gpus() -> list[Gpu]:
    """The GPUs that the framework sees, whether or not it has kernels for them."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = [torch.cuda.get_device_properties(number) for number in range(count)]
    return [Gpu(number, gpu.name, gpu.total_memory, (gpu.major, gpu.minor)) for number, gpu in enumerate(found)]


def resolve_device(request: str, dtype: str = "float32") -> str:
    """`auto | cpu | gpu | gpu:N` to `cpu` or `gpu:N`, by the rules of `core/engine/devices.py`.

    Raises UserError if a GPU is asked for and not usable, or if the device has no such dtype.
    """
    device = devices.resolve(request, dtype, build(), gpus, trial.run_trial)
    set_precision(dtype, device)
    return device


def set_precision(dtype: str, device: str) -> None:
    """TF32 on or off, for the whole process, in matrix products and cuDNN's recurrent layers alike."""
    allowed = tf32.settle_tf32(dtype, device)
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


ONE_KERNEL = {"srn": 256, "gru": 128, "lstm": 128}
"""Largest hidden size up to which cuDNN runs a training pass over padded input as one kernel, by cell: the limits that
PyTorch asks it by. On real tokens alone it starts several kernels for each time step instead."""


def preferred_on_gpu(encoder: Encoder, dtype: str) -> tuple[str, ...]:
    """Implementations in the order in which a GPU should compute them (`backends/implementations.py`).

    One kernel over the padding is 4 to 9 times as fast as a kernel for every step of the real tokens (docs/gpu.md); its
    outputs are 1e-5 from exact, where the others are 1e-6. Where there is no such kernel, leaving out the padding is as
    fast or faster.
    """
    largest = ONE_KERNEL.get(getattr(encoder, "cell", ""), 0)
    one_kernel = dtype != "float64" and getattr(encoder, "hidden_size", 0) <= largest
    first = ("builtin", "packed") if one_kernel else ("packed", "builtin")
    return (*first, "loop", "fast")


def native_device(device: str) -> torch.device:
    """The framework's own name of `cpu` or `gpu:N`."""
    return torch.device("cpu") if device == "cpu" else torch.device("cuda", int(device.partition(":")[2]))


def to_tensor(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """A tensor on `device` with the array's values and dtype."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    # From pinned memory the copy waits for its turn on the GPU, and the host goes on.
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """A C-contiguous copy; waits for the device."""
    return np.array(tensor.detach().cpu().numpy(), order="C", copy=True)


class Windows:
    """See `core.batch.Windows`, with arrays as tensors of the model's dtype, each made when first asked for."""

    def __init__(self, windows: batch.Windows, dtype: str, device: torch.device) -> None:
        self._windows, self._dtype, self._device = windows, dtype, device

    @cached_property
    def mask(self) -> torch.Tensor:
        """[B, L, 1], 1 where one begins."""
        return to_tensor(self._windows.mask.astype(self._dtype), self._device)

    @cached_property
    def counts(self) -> torch.Tensor:
        """[B, 1]"""
        return to_tensor(self._windows.counts.astype(self._dtype), self._device)


class Inputs:
    """A batch on the device. What one implementation reads another does not: it is made and sent when first asked for.

    `ids` [B, L], `targets` by name; and on the host, for our own layers, `lengths` [B].
    """

    def __init__(self, of: Batch, dtype: str, device: torch.device) -> None:
        """The floating-point parts get `dtype`, the model's."""
        self._batch, self._dtype, self._device = of, dtype, device
        self.ids = to_tensor(of.ids, device)
        self.targets = {name: to_tensor(array, device) for name, array in of.targets.items()}
        self._windows: dict[int, Windows] = {}
        self.lengths = to_tensor(of.lengths, torch.device("cpu"))

    def windows(self, width: int) -> Windows:
        """See `core.batch.Windows`, as tensors."""
        if width not in self._windows:
            self._windows[width] = Windows(batch.Windows(self._batch, width), self._dtype, self._device)
        return self._windows[width]

    @property
    def mask(self) -> torch.Tensor:
        """[B, L, 1], 1 where real."""
        return self.windows(1).mask

    @cached_property
    def reversal(self) -> torch.Tensor:
        """[B * L], rows of a flattened [B * L, D] that reverse each sequence."""
        return to_tensor(reversal_index(self._batch), self._device)

    @cached_property
    def first(self) -> torch.Tensor:
        """[B], rows of a flattened [B * L, D]."""
        return to_tensor(first_index(self._batch), self._device)

    @cached_property
    def last(self) -> torch.Tensor:
        """[B], rows of a flattened [B * L, D]."""
        return to_tensor(last_index(self._batch), self._device)

    @cached_property
    def packing(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the framework's layers are told of unequal lengths: `order`, `sizes` and `place` of
        `core.batch.packing`, the sizes on the host, where cuDNN wants them."""
        order, sizes, place = packing(self._batch)
        return to_tensor(order, self._device), torch.from_numpy(sizes), to_tensor(place, self._device)


class DeviceClock:
    """Seconds that the device takes from each `start` to the `stop` after it. Of a GPU between two marks that it comes
    past in its own time, so that the host does not wait."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._started = None
        self._laps: list[tuple] = []

    def start(self) -> None:
        self._started = self._mark()

    def stop(self) -> None:
        self._laps.append((self._started, self._mark()))

    def read(self) -> float | None:
        """The sum since the last call, once the device has come past the last `stop`; None where it cannot be told."""
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
