"""Files of arrays with a JSON state and a digest: the checkpoints of a run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from core.checked_json import parse_json
from core.errors import UserError
from core.files import write_bytes_atomic
from core.spec.experiment import FORMAT_VERSION

DTYPES = frozenset({"F32", "F64"})
"""Types of the arrays of a run, by their safetensors name."""

RECORD = "seqtwin"
"""The only key of the file's metadata. safetensors writes several keys in random order."""


def array_digest(arrays: dict[str, np.ndarray], state: object) -> str:
    """Return the SHA-256 of names, types, shapes and bytes of the arrays, and of the state."""
    digest = hashlib.sha256(json.dumps(state, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"\n{name} {array.dtype.str} {list(array.shape)}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return f"sha256:{digest.hexdigest()}"


def write_arrays(path: Path, arrays: dict[str, np.ndarray], state: dict) -> None:
    """Write arrays and a JSON state to one file, atomically. Equal content gives equal bytes."""
    # safetensors' NumPy writer corrupts arrays that are not C-contiguous: it stores their memory as it is.
    contiguous = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
    record = {"format": FORMAT_VERSION, "state": state, "digest": array_digest(contiguous, state)}
    metadata = {RECORD: json.dumps(record, sort_keys=True)}
    write_bytes_atomic(path, safetensors.numpy.save(contiguous, metadata=metadata))


def read_arrays(path: Path, dtypes: frozenset[str] = DTYPES) -> tuple[dict[str, np.ndarray], Any]:
    """Read a file of `write_arrays`: arrays of these types, by their safetensors names, and state.

    Raises UserError if it is missing, damaged, of a newer format, or has arrays that no run has.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as stream:
            record = _record(stream.metadata() or {})
            version = record["format"]
            if version > FORMAT_VERSION:
                raise UserError(
                    f"{path}: got format {version}, this version of seqtwin reads up to {FORMAT_VERSION}:"
                    " update seqtwin"
                )
            names = list(stream.keys())
            for name in names:
                kind = stream.get_slice(name).get_dtype()
                if kind not in dtypes:
                    expected = " or ".join(sorted(dtypes))
                    raise UserError(f"{path}: {name}: got type {kind}, expected {expected}: restore the file")
            arrays = {name: stream.get_tensor(name) for name in names}
    except (safetensors.SafetensorError, ValueError, RecursionError, OSError) as error:
        raise UserError(f"{path}: damaged or not a checkpoint ({error}): restore the file") from None
    if "digest" in record and record["digest"] != array_digest(arrays, record["state"]):
        raise UserError(f"{path}: damaged, its content does not match its digest: restore the file")
    return arrays, record["state"]


def read_state(path: Path) -> Any:
    """Read the JSON state of a file of `write_arrays` without its arrays, so its digest is not checked.

    Raises UserError if its header is damaged.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as stream:
            return _record(stream.metadata() or {})["state"]
    except (safetensors.SafetensorError, ValueError, RecursionError, OSError) as error:
        raise UserError(f"{path}: damaged or not a checkpoint ({error}): restore the file") from None


def _record(metadata: dict[str, str]) -> dict:
    """Return format, state and digest. Raises ValueError if they are missing. Formats 1 and 2 have no digest."""
    if RECORD in metadata:
        record = parse_json(metadata[RECORD])
        if not isinstance(record, dict) or set(record) != {"format", "state", "digest"}:
            raise ValueError("its record is incomplete")
    elif "format" in metadata:
        record = {"format": parse_json(metadata["format"]), "state": parse_json(metadata.get("state", "{}"))}
    else:
        raise ValueError("it has no record of a run")
    if type(record["format"]) is not int:
        raise ValueError(f"its format is {record['format']!r}")
    return record
