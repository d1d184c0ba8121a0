"""Reader and writer of state dicts in `.pt` files, without running code of the file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from backends.torch.framework import torch
from backends.torch.runtime import native_device, to_tensor
from core.files import write_bytes_atomic
from core.weights import torch_files
from core.weights.state_dict import StateDict

LINEAR_LAYOUT = torch_files.LINEAR_LAYOUT
"""Weight layout of `torch.nn.Linear`, [out, in]."""


def read_state(path: str | Path, entry: str | None = None) -> StateDict:
    """Read a state dict (`core/engine/contract.py`), without `torch.load`, which can run code."""
    return torch_files.read_state(path, entry)


def write_state(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a state dict (`core/engine/contract.py`)."""
    stream = io.BytesIO()
    torch.save({name: to_tensor(array, native_device("cpu")) for name, array in arrays.items()}, stream)
    write_bytes_atomic(path, stream.getvalue())
