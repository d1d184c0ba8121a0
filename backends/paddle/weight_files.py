"""Reader and writer of state dicts in `.pdparams` files, without running code of the file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from backends.paddle.framework import paddle
from backends.paddle.runtime import native_device, to_tensor
from core.files import write_bytes_atomic
from core.weights import paddle_files
from core.weights.state_dict import StateDict

LINEAR_LAYOUT = paddle_files.LINEAR_LAYOUT
"""Weight layout of `paddle.nn.Linear`, [in, out]."""


def read_state(path: str | Path, entry: str | None = None) -> StateDict:
    """Read a state dict (`core/engine/contract.py`), without `paddle.load`, which runs code."""
    return paddle_files.read_state(path, entry)


def write_state(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a state dict (`core/engine/contract.py`).

    Recurrent arrays are written under both names, as Paddle would otherwise report missing keys.
    """
    stream = io.BytesIO()
    tensors = {
        name: to_tensor(array, native_device("cpu")) for name, array in paddle_files.with_cell_names(arrays).items()
    }
    paddle.save(tensors, stream)
    write_bytes_atomic(path, stream.getvalue())
