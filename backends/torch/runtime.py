"""Importing the framework, choosing the device, and the border between NumPy and tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backends.torch.framework import torch
from core import devices
from core.batches import Batch, first_index, last_index, real_mask, reversal_index
from core.devices import Build, Gpu

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
    """`auto | cpu | gpu | gpu:N` to `cpu` or `gpu:N`, by the rules of `core/devices.py`.

    Raises UserError if a GPU is asked for and not usable, or if the device has no such dtype.
    """
    device = devices.resolve(request, dtype, build(), gpus)
    set_precision(dtype, device)
    return device


def set_precision(dtype: str, device: str) -> None:
    """TF32 on or off, for the whole process, in matrix products and cuDNN's recurrent layers alike."""
    allowed = devices.settle_tf32(dtype, device)
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def native_device(device: str) -> torch.device:
    """The framework's own name of `cpu` or `gpu:N`."""
    return torch.device("cpu") if device == "cpu" else torch.device("cuda", int(device.partition(":")[2]))


def to_tensor(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """A tensor on `device` with the array's values and dtype."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """A C-contiguous copy; waits for the device."""
    return np.array(tensor.detach().cpu().numpy(), order="C", copy=True)


@dataclass(frozen=True)
class Inputs:
    """A batch on the device. `ids` [B, L], `mask` [B, L, 1] (1 where real), `lengths` and `labels` [B], and row
    numbers into a flattened [B * L, D]: `reversal` [B * L], `first` [B], `last` [B]."""

    ids: torch.Tensor
    mask: torch.Tensor
    lengths: torch.Tensor
    labels: torch.Tensor
    reversal: torch.Tensor
    first: torch.Tensor
    last: torch.Tensor


def place(batch: Batch, dtype: str, device: torch.device) -> Inputs:
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
