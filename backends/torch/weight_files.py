"""Reader and writer of state dicts in `.pt` files, without running code of the file."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from pathlib import Path

import numpy as np

from backends.torch.framework import torch
from backends.torch.runtime import native_device, to_tensor
from core.errors import UserError
from core.files import write_bytes_atomic
from core.weights.state_dict import StateDict, gather, read_bytes

LINEAR_LAYOUT = "out_in"
"""Weight layout of `torch.nn.Linear`, [out, in]."""
PLAIN = {torch.float16, torch.float32, torch.float64, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool}
"""Number types that NumPy supports."""


def read_state(path: str | Path, entry: str | None = None) -> StateDict:
    """Read a state dict (`core/engine/contract.py`).

    Raises UserError for torch before 2.6, whose `weights_only=True` can run code of the file (CVE-2025-32434).
    """
    version = tuple(int(number) for number in re.findall(r"\d+", torch.__version__)[:2])
    if version < (2, 6):
        raise UserError(
            f"{path}: torch {torch.__version__} may run code of the file (CVE-2025-32434);"
            f" run: pip install 'torch>=2.6'"
        )
    data = read_bytes(path)

    def as_array(leaf: object) -> np.ndarray | None:
        if not isinstance(leaf, torch.Tensor) or leaf.layout != torch.strided or leaf.device.type != "cpu":
            return None
        # A stride of zero lets a small file claim any size.
        if leaf.numel() * leaf.element_size() > len(data):
            return None
        if leaf.dtype == torch.bfloat16:
            return leaf.detach().view(torch.uint16).numpy()
        return leaf.detach().numpy() if leaf.dtype in PLAIN else None

    try:
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as records:
                if sum(record.file_size for record in records.infolist()) > len(data):
                    raise ValueError("its records are larger than the file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; unsupported ones raise an error
            tree = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise any exception
        message = " ".join(str(error).split()) or type(error).__name__
        # torch's message also explains how to run the file nevertheless: omit that.
        message = message.rpartition("WeightsUnpickler error: ")[2].partition(" Check the documentation")[0]
        refused = re.search(r"GLOBAL (\S+) (?:was not|whose)", message)
        if refused:
            what = refused[1] if refused[1].isprintable() else ascii(refused[1])
            raise UserError(
                f"{path}: unsafe, it asks to run {what[:80]}: save a state dict, which holds arrays only"
            ) from None
        reason = "the file is empty" if not data else f"damaged, or not a torch file ({message[:120]})"
        raise UserError(f"{path}: {reason}, expected a state dict: copy or save the file again") from None
    return gather(tree, str(path), as_array, entry)


def write_state(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a state dict (`core/engine/contract.py`)."""
    stream = io.BytesIO()
    torch.save({name: to_tensor(array, native_device("cpu")) for name, array in arrays.items()}, stream)
    write_bytes_atomic(path, stream.getvalue())
