"""Importing the framework, choosing the device, and the border between NumPy and tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backends.paddle.framework import paddle
from core import devices
from core.batches import Batch, first_index, last_index, real_mask, reversal_index
from core.devices import Build, Gpu

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
    """`auto | cpu | gpu | gpu:N` to `cpu` or `gpu:N`, by the rules of `core/devices.py`.

    Raises UserError if a GPU is asked for and not usable, or if the device has no such dtype.
    """
    device = devices.resolve(request, dtype, build(), gpus)
    set_precision(dtype, device)
    return device


def set_precision(dtype: str, device: str) -> None:
    """TF32 on or off, for the whole process, in matrix products and cuDNN's recurrent layers alike."""
    allowed = devices.settle_tf32(dtype, device)
    # The variable that `settle_tf32` sets is what recurrent layers heed; these, of Paddle 3, are for the rest.
    for name in ("set_cublas_switch", "set_cudnn_switch"):
        if device != "cpu" and hasattr(paddle.base.core, name):
            getattr(paddle.base.core, name)(allowed)


def native_device(device: str):
    """The framework's own place of `cpu` or `gpu:N`."""
    return paddle.CPUPlace() if device == "cpu" else paddle.CUDAPlace(int(device.partition(":")[2]))


def to_tensor(array: np.ndarray, device) -> paddle.Tensor:
    """A tensor on `device` with the array's values and dtype."""
    return paddle.to_tensor(np.ascontiguousarray(array), place=device)


def to_numpy(tensor: paddle.Tensor) -> np.ndarray:
    """A C-contiguous copy; waits for the device."""
    return np.array(tensor.detach().numpy(), order="C", copy=True)


@dataclass(frozen=True)
class Inputs:
    """A batch on the device. `ids` [B, L], `mask` [B, L, 1] (1 where real), `lengths` and `labels` [B], and row
    numbers into a flattened [B * L, D]: `reversal` [B * L], `first` [B], `last` [B]."""

    ids: paddle.Tensor
    mask: paddle.Tensor
    lengths: paddle.Tensor
    labels: paddle.Tensor
    reversal: paddle.Tensor
    first: paddle.Tensor
    last: paddle.Tensor


def place(batch: Batch, dtype: str, device) -> Inputs:
    """Move a batch to the device; the mask gets the model's dtype."""
    return Inputs(
        ids=to_tensor(batch.ids, device),
        mask=to_tensor(real_mask(batch)[:, :, None].astype(dtype), device),
        lengths=to_tensor(batch.lengths, device),
        labels=to_tensor(batch.labels, device),
        reversal=to_tensor(reversal_index(batch), device),
        first=to_tensor(first_index(batch), device),
        last=to_tensor(last_index(batch), device),
    )
