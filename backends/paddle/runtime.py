"""Importing the framework, choosing the device, and the border between NumPy and tensors."""

from __future__ import annotations

import time
from functools import cached_property

import numpy as np

from backends import trial
from backends.paddle.framework import paddle
from core import batch
from core.batch import Batch, first_index, last_index, reversal_index
from core.engine import devices, tf32
from core.engine.devices import Build, Gpu
from core.models.encoders.encoder import Encoder

NAME = "paddle"


def versions() -> dict[str, str]:
    """The framework's version and the CUDA version it was built for (`none` for a CPU build)."""
    cuda = paddle.version.cuda()  # 'False', as a string, on a CPU build
    return {"paddle": paddle.__version__, "cuda": "none" if cuda in (None, "False") else cuda}


def build() -> Build:
    """Version, CUDA and architectures of the framework as it is installed."""
    own = versions()
    listed = getattr(paddle.version, "cuda_archs", list)()  # Paddle 2.6 has no such function
    architectures = tuple(f"sm_{number}" for number in listed or ())
    install = "the build of Paddle 3 for your GPU, from https://www.paddlepaddle.org.cn/en/install/quick"
    return Build(NAME, own[NAME], own["cuda"], architectures, install)


def gpus() -> list[Gpu]:
    """The GPUs that the framework sees, whether or not it has kernels for them."""
    # Placing a tensor on a GPU that is not there ends the process: ask first.
    count = paddle.device.cuda.device_count() if paddle.device.is_compiled_with_cuda() else 0
    found = [paddle.device.cuda.get_device_properties(number) for number in range(count)]
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
    # The variable that `settle_tf32` sets is what recurrent layers heed; these, of Paddle 3, are for the rest.
    for name in ("set_cublas_switch", "set_cudnn_switch"):
        if device != "cpu" and hasattr(paddle.base.core, name):
            getattr(paddle.base.core, name)(allowed)


def preferred_on_gpu(encoder: Encoder, dtype: str) -> tuple[str, ...]:
    """Implementations in the order in which a GPU should compute them (`backends/implementations.py`).

    Nothing of this has been timed with Paddle on a GPU: cuDNN computes both directions at once and no padding.
    """
    return ("packed", "builtin", "loop", "fast")


def native_device(device: str):
    """The framework's own place of `cpu` or `gpu:N`."""
    return paddle.CPUPlace() if device == "cpu" else paddle.CUDAPlace(int(device.partition(":")[2]))


def to_tensor(array: np.ndarray, device) -> paddle.Tensor:
    """A tensor on `device` with the array's values and dtype."""
    return paddle.to_tensor(np.ascontiguousarray(array), place=device)


def to_numpy(tensor: paddle.Tensor) -> np.ndarray:
    """A C-contiguous copy; waits for the device."""
    return np.array(tensor.detach().numpy(), order="C", copy=True)


class Windows:
    """See `core.batch.Windows`, with arrays as tensors of the model's dtype, each made when first asked for."""

    def __init__(self, windows: batch.Windows, dtype: str, device) -> None:
        self._windows, self._dtype, self._device = windows, dtype, device

    @cached_property
    def mask(self) -> paddle.Tensor:
        """[B, L, 1], 1 where one begins."""
        return to_tensor(self._windows.mask.astype(self._dtype), self._device)

    @cached_property
    def counts(self) -> paddle.Tensor:
        """[B, 1]"""
        return to_tensor(self._windows.counts.astype(self._dtype), self._device)


class Inputs:
    """A batch on the device. What one implementation reads another does not: it is made and sent when first asked for.

    `ids` [B, L], `targets` by name; and on the host, for our own layers, `lengths` [B].
    """

    def __init__(self, of: Batch, dtype: str, device) -> None:
        """The floating-point parts get `dtype`, the model's."""
        self._batch, self._dtype, self._device = of, dtype, device
        self.ids = to_tensor(of.ids, device)
        self.targets = {name: to_tensor(array, device) for name, array in of.targets.items()}
        self._windows: dict[int, Windows] = {}
        self.lengths = to_tensor(of.lengths, paddle.CPUPlace())

    def windows(self, width: int) -> Windows:
        """See `core.batch.Windows`, as tensors."""
        if width not in self._windows:
            self._windows[width] = Windows(batch.Windows(self._batch, width), self._dtype, self._device)
        return self._windows[width]

    @property
    def mask(self) -> paddle.Tensor:
        """[B, L, 1], 1 where real."""
        return self.windows(1).mask

    @cached_property
    def reversal(self) -> paddle.Tensor:
        """[B * L], rows of a flattened [B * L, D] that reverse each sequence."""
        return to_tensor(reversal_index(self._batch), self._device)

    @cached_property
    def first(self) -> paddle.Tensor:
        """[B], rows of a flattened [B * L, D]."""
        return to_tensor(first_index(self._batch), self._device)

    @cached_property
    def last(self) -> paddle.Tensor:
        """[B], rows of a flattened [B * L, D]."""
        return to_tensor(last_index(self._batch), self._device)

    @cached_property
    def packing(self) -> paddle.Tensor:
        """What the framework's layers are told of unequal lengths: `lengths`, on the device."""
        return to_tensor(self._batch.lengths, self._device)


class DeviceClock:
    """Seconds that the device takes from each `start` to the `stop` after it. Of a GPU between two marks that it comes
    past in its own time, so that the host does not wait."""

    def __init__(self, device) -> None:
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
        if isinstance(self._device, paddle.CPUPlace):
            return sum(stop - start for start, stop in laps)
        # Paddle 2.6 says 0 to whatever it is asked.
        return sum(start.elapsed_time(stop) for start, stop in laps) / 1000 or None

    def _mark(self):
        if isinstance(self._device, paddle.CPUPlace):
            return time.perf_counter()
        mark = paddle.device.Event(enable_timing=True)
        mark.record()
        return mark
