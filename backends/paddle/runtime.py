"""Importing the framework, choosing the device, and the border between NumPy and tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backends.paddle.framework import paddle
from core.batches import Batch, first_index, last_index, real_mask, reversal_index
from core.errors import UserError

NAME = "paddle"


def versions() -> dict[str, str]:
    """The framework's version and the CUDA version it was built for (`none` for a CPU build)."""
    cuda = paddle.version.cuda()  # 'False', as a string, on a CPU build
    return {"paddle": paddle.__version__, "cuda": "none" if cuda in (None, "False") else cuda}


def resolve_device(request: str) -> str:
    """`auto | cpu | gpu` to `cpu` or `gpu:0`. Raises UserError if a GPU is asked for and none is usable."""
    if request == "cpu":
        return "cpu"
    # Placing a tensor on a GPU that is not there ends the process: ask first.
    count = paddle.device.cuda.device_count() if paddle.device.is_compiled_with_cuda() else 0
    if count > 0:
        return "gpu:0"
    if request == "gpu":
        raise UserError(
            "--device gpu: paddle sees no usable GPU; use --device cpu, or install a GPU build of paddlepaddle"
        )
    return "cpu"


def native_device(device: str):
    """The framework's own place of `cpu` or `gpu:0`."""
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
