"""Recordings of one framework as a file, to be compared on another machine or in another environment.

A safetensors file: arrays, each content once, and a JSON tree with format and digest in its metadata. Reading it runs
no code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from core.checked_json import parse_json
from core.errors import UserError
from core.files import write_bytes_atomic
from core.twin.contract import Optimization
from core.twin.recording import Arrays, Call, Module, Parameter, Recording, Step

FORMAT = 1
SUFFIX = ".safetensors"
KEY = "seqtwin_twin"
"""The only key of the file's metadata. safetensors writes several keys in random order."""
ENTRY = "session"
"""Entry of the JSON tree that holds the record."""


@dataclass(frozen=True)
class ModelRecord:
    """What one model computed: a recording per mode and number type, and training steps."""

    name: str
    """As the user named the model: `mine_torch.py:Model`."""
    recordings: tuple[Recording, ...]
    batches: tuple[Arrays, ...] = ()
    """Inputs of the training steps, in turn."""
    optimization: Optimization | None = None
    """How the model was trained, None if it was not."""
    steps: tuple[Step, ...] = ()
    own_optimizer: bool = False
    """Whether a function of the user made the optimizer."""
    own_loss: bool = False
    """Whether a function of the user computed the loss."""
    drawn: Mapping[str, str] = field(default_factory=dict)
    """Descriptions that the inputs were drawn from, by name: `int[4,9]:50`."""


STORED_AS = {"ModelRecord": "Session"}
"""Names of classes in the file, where they are not those of the code."""
CLASSES = {
    STORED_AS.get(own.__name__, own.__name__): own
    for own in (ModelRecord, Recording, Module, Parameter, Call, Step, Optimization)
}
DTYPES = frozenset({"F64", "F32", "F16", "I64", "I32", "I16", "I8", "U8", "BOOL"})


def write_record(path: str | Path, record: ModelRecord) -> None:
    """Write a record atomically. Equal content gives equal bytes. Raises UserError if the system refuses."""
    store = _Store()
    tree = {"format": FORMAT, ENTRY: store.encode(record)}
    tree["digest"] = _digest(store.arrays, tree)
    metadata = {KEY: json.dumps(tree, sort_keys=True, allow_nan=False)}
    write_bytes_atomic(path, safetensors.numpy.save(store.arrays, metadata=metadata))


def read_record(path: str | Path) -> ModelRecord:
    """Read a file of `write_record`. Raises UserError if it is missing, damaged or of a newer format."""
    try:
        with safetensors.safe_open(path, framework="numpy") as stream:
            tree = parse_json((stream.metadata() or {}).get(KEY, "null"))
            if not isinstance(tree, dict) or type(tree.get("format")) is not int:
                raise UserError(f"{path}: no recording of a model: record a model first")
            if tree["format"] > FORMAT:
                raise UserError(
                    f"{path}: got format {tree['format']}, expected at most {FORMAT}: update seqtwin, or record again"
                )
            names = list(stream.keys())
            wrong = [name for name in names if stream.get_slice(name).get_dtype() not in DTYPES]
            if wrong:
                raise ValueError(f"array {wrong[0]} has a type that no recording has")
            arrays = {name: stream.get_tensor(name) for name in names}
        if tree.pop("digest", None) != _digest(arrays, tree):
            raise ValueError("its content does not match its digest")
        record = _decode(tree.get(ENTRY), arrays)
        if not isinstance(record, ModelRecord) or not record.recordings:
            raise ValueError("it holds no recording")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: check the path") from None
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError, RecursionError, OSError) as error:
        raise UserError(f"{path}: damaged, or no recording ({error}): record it again") from None
    return record


def is_recording(path: str | Path) -> bool:
    """Return whether a file name is that of a recording, not `FILE:NAME`."""
    return str(path).endswith(SUFFIX)


class _Store:
    """Turns values into JSON and collects their arrays, each content once."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._names: dict[bytes, str] = {}

    def encode(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return {"array": self._name(value)}
        if is_dataclass(value) and not isinstance(value, type):
            own = {entry.name: self.encode(getattr(value, entry.name)) for entry in fields(value)}
            name = type(value).__name__
            return {"class": STORED_AS.get(name, name), "fields": own}
        if isinstance(value, Mapping):
            return {"map": [[key, self.encode(entry)] for key, entry in value.items()]}
        if isinstance(value, tuple | list):
            return {"tuple": [self.encode(entry) for entry in value]}
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float) and not np.isfinite(value):
            return {"float": repr(value)}
        if value is None or isinstance(value, str | bool | int | float):
            return value
        raise TypeError(f"a recording holds no {type(value).__name__}")

    def _name(self, array: np.ndarray) -> str:
        # safetensors' NumPy writer corrupts arrays that are not C-contiguous. A scalar gets an axis there.
        array = np.ascontiguousarray(array).reshape(array.shape)
        digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
        digest.update(array.data)
        key = digest.digest()
        if key not in self._names:
            self._names[key] = f"a{len(self._names)}"
            self.arrays[self._names[key]] = array
        return self._names[key]


def _decode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Return the value of `_Store.encode`. Raises ValueError, TypeError or KeyError for other trees."""
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise ValueError("unexpected list")
        return value
    if "class" in value:
        made = {name: _decode(entry, arrays) for name, entry in value["fields"].items()}
        return CLASSES[value["class"]](**made)
    ((kind, content),) = value.items()
    if kind == "array":
        return arrays[content]
    if kind == "map":
        return {str(key): _decode(entry, arrays) for key, entry in content}
    if kind == "tuple":
        return tuple(_decode(entry, arrays) for entry in content)
    if kind == "float" and content in ("inf", "-inf", "nan"):
        return float(content)
    raise ValueError(f"unknown entry {str(kind)[:40]}")


def _digest(arrays: Mapping[str, np.ndarray], tree: dict) -> str:
    """Return the SHA-256 of names, types, shapes and bytes of the arrays, and of the tree."""
    digest = hashlib.sha256(json.dumps(tree, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"\n{name} {array.dtype.str} {list(array.shape)}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return f"sha256:{digest.hexdigest()}"
