"""State dicts in the framework's own files, `.pt`: arrays in and out, and no code of the file's is ever run."""

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
"""`torch.nn.Linear` keeps `weight` as [out, in]."""
PLAIN = {torch.float16, torch.float32, torch.float64, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool}
"""Number types that NumPy has too."""


def read_state(path: str | Path, entry: str | None = None) -> StateDict:
    """See `core/engine/contract.py`. `weights_only=True` of torch before 2.6 can be led to run code
    (CVE-2025-32434)."""
    version = tuple(int(number) for number in re.findall(r"\d+", torch.__version__)[:2])
    if version < (2, 6):
        raise UserError(
            f"{path}: torch {torch.__version__} cannot be trusted to read a file without running what is in it"
            " (CVE-2025-32434); run: pip install 'torch>=2.6'"
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
                    raise ValueError("its parts are larger than the file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols that it may not know: the error comes if so
            tree = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever it stumbles over, the file is refused
        message = " ".join(str(error).split()) or type(error).__name__
        # Around it torch says how to run the file all the same.
        message = message.rpartition("WeightsUnpickler error: ")[2].partition(" Check the documentation")[0]
        refused = re.search(r"GLOBAL (\S+) (?:was not|whose)", message)
        if refused:
            what = refused[1] if refused[1].isprintable() else ascii(refused[1])
            raise UserError(
                f"{path}: refuses to load: it asks to run {what[:80]}; a state dict holds arrays only"
            ) from None
        reason = "the file is empty" if not data else f"damaged, or not a torch file ({message[:120]})"
        raise UserError(f"{path}: {reason}: a state dict was expected") from None
    return gather(tree, str(path), as_array, entry)


def write_state(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """See `core/engine/contract.py`."""
    stream = io.BytesIO()
    torch.save({name: to_tensor(array, native_device("cpu")) for name, array in arrays.items()}, stream)
    write_bytes_atomic(path, stream.getvalue())
