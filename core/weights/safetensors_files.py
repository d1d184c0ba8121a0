"""Reader and writer of `.safetensors` files with neutral names, without a framework."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from core.errors import UserError
from core.files import write_bytes_atomic
from core.spec.experiment import FORMAT_VERSION
from core.weights.array_file import RECORD, read_arrays
from core.weights.budget import Budget
from core.weights.pickled_arrays import short
from core.weights.state_dict import StateDict, gather, read_bytes

LINEAR_LAYOUT = "out_in"
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_TYPES |= {"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1", "U8": "<u1", "BOOL": "|b1"}
"""NumPy dtypes by safetensors name; bfloat16 as uint16 (`core.weights.state_dict.gather`)."""

NO_PARAMETERS = {"optimizer/": "optimizer state", "average/": "averaged parameters, of an unfinished run"}
"""What a run's checkpoint holds besides its parameters, by the beginning of the names."""


def read_state(path: str | Path, entry: str | None = None) -> StateDict:
    """Read the arrays of a `.safetensors` file, such as `best.safetensors` of a run folder.

    Optimizer state of a run (`optimizer/...`) and its averaged parameters (`average/...`) are skipped and listed in
    `skipped`. Raises UserError if the file cannot be read or is damaged.
    """
    where, data = str(path), read_bytes(path)
    budget = Budget(where, len(data))
    try:
        parts = safetensors.deserialize(data)
        tree = dict(map(_array_of, parts))
        with safetensors.safe_open(path, framework="numpy") as file:
            if RECORD in (file.metadata() or {}):  # of a run, with a digest
                read_arrays(Path(path))
    except (safetensors.SafetensorError, ValueError, OverflowError) as error:  # more axes than NumPy has
        found = short(" ".join(str(error).split()))
        raise UserError(f"{where}: damaged or not a safetensors file ({found}): copy or save it again") from None
    others = {prefix: {name for name in tree if name.startswith(prefix)} for prefix in NO_PARAMETERS}
    skipped = set[str]().union(*others.values())
    state = gather({name: value for name, value in tree.items() if name not in skipped}, budget, _as_array, entry)
    for prefix, names in others.items():
        if names:
            state.skipped[f"{prefix}... ({len(names)} arrays)"] = NO_PARAMETERS[prefix]
    return dataclasses.replace(state, ordered=False)  # safetensors sorts them


def _array_of(item: tuple[str, dict]) -> tuple[str, np.ndarray | str]:
    """Return name and array of a tensor, a description instead of the array for an unknown number type."""
    name, part = item
    if part["dtype"] not in _TYPES:
        return name, f"{part['dtype']} {list(part['shape'])}"
    return name, np.frombuffer(part["data"], _TYPES[part["dtype"]]).reshape(part["shape"])


def _as_array(leaf: object) -> np.ndarray | None:
    return leaf if isinstance(leaf, np.ndarray) else None


def write_state(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays atomically. Raises UserError if the system refuses."""
    # safetensors' NumPy writer corrupts arrays that are not C-contiguous: it stores their memory as it is.
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_bytes_atomic(path, safetensors.numpy.save(contiguous, metadata={"format": str(FORMAT_VERSION)}))
