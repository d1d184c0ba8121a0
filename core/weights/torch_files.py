"""Reader of torch's files without torch: state dicts of `torch.save`, old and new, and TorchScript archives.

A file of `torch.save` is a zip archive with `data.pkl`, a pickle whose persistent ids name the records `data/KEY`, one
per storage. Until torch 1.6 it was a sequence of pickles: a magic number, a version, the sizes of types, the objects,
and the keys of the storages, followed by the storages. A TorchScript archive is such a zip archive with code.
`torch.load(weights_only=True)` refuses a checkpoint with any other object; this reader skips it
(`core/weights/opaque.py`). bfloat16 is read as uint16.

Sources: `torch/serialization.py` and `torch/_utils.py` of torch 2.13.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np

from core.errors import UserError
from core.weights.budget import Budget
from core.weights.opaque import Opaque
from core.weights.pickled_arrays import Damaged, PickledArray, aligned, damaged, short
from core.weights.pickled_tensors import CALLS, PickledTensor, Storage
from core.weights.safe_pickle import SafeUnpickler
from core.weights.state_dict import StateDict, gather, read_bytes
from core.zip_directory import Archive

LINEAR_LAYOUT = "out_in"
MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of a file before torch 1.6."""
_STORAGE, _NODE = 300, 5
"""Bytes of the record of a storage, and operations of an attribute of a TorchScript module."""


class _Unpickler(SafeUnpickler):
    """The safe unpickler with tensors; `storages` are those of the persistent ids, by key."""

    calls: ClassVar[dict[str, Callable]] = {**SafeUnpickler.calls, **CALLS}
    dispatch = SafeUnpickler.dispatch.__class__(SafeUnpickler.dispatch)

    def __init__(self, stream: io.BytesIO, budget: Budget, storages: dict[str, Storage], order: str = "<") -> None:
        super().__init__(stream, budget)
        self.storages, self.order = storages, order

    def load_binpersid(self) -> None:
        found = self.stack.pop()
        if (
            not isinstance(found, tuple)
            or len(found) not in (5, 6)
            or found[0] != "storage"
            or found[5:] != (None,) * (len(found) - 5)
        ):
            raise Damaged("a persistent id of unknown form")
        _, kind, key, _, entries = found[:5]
        if not isinstance(kind, Opaque) or not isinstance(key, str) or type(entries) is not int:
            raise Damaged("a persistent id of unknown form")
        self.budget.create(_STORAGE)
        made = Storage(key, kind.name.rpartition(".")[2], self.order, entries)
        self.append(self.storages.setdefault(key, made))


_Unpickler.dispatch[ord("Q")] = _Unpickler.load_binpersid  # type: ignore[index]


def read_state(path: str | Path, entry: str | None = None) -> StateDict:
    """Read a state dict of `torch.save`, or of a TorchScript archive, without running code of the file.

    Raises UserError for a damaged file, a pickled module, and names that only an attack needs.
    """
    where, data = str(path), read_bytes(path)
    budget, notes = Budget(where, len(data)), ()
    try:
        if data.startswith(MAGIC):
            tree = _read_sequence(data, budget)
        else:
            tree, script = _read_zip(data, budget)
            if script:
                tree, notes = dict(_attributes(tree, budget)), ("TorchScript archive: only its weights are read",)
        state = gather(tree, budget, as_array, entry)
    except UserError:
        raise
    except Exception as error:  # a damaged file can raise any exception
        raise damaged(where, "a torch file", error, data) from None
    return StateDict(where, state.arrays, state.skipped, (*notes, *state.notes), state.unread)


def as_array(leaf: object) -> np.ndarray | None:
    if isinstance(leaf, PickledTensor):
        return leaf.array()
    return leaf.array() if isinstance(leaf, PickledArray) and leaf.data is not None else None


def _read_zip(data: bytes, budget: Budget) -> tuple[object, bool]:
    """Return the objects of `data.pkl`, and whether the archive has code."""
    archive = Archive(data, budget.create)
    records = {record.name.partition("/")[2]: record for record in archive.members}

    def read(name: str) -> memoryview:
        if name not in records:
            raise Damaged(f"no record {short(name)}")
        return archive.read(records[name])

    storages: dict[str, Storage] = {}
    order = ">" if "byteorder" in records and read("byteorder") == b"big" else "<"
    pickle = read("data.pkl")
    budget.create(len(pickle))  # BytesIO copies it
    tree = _Unpickler(io.BytesIO(pickle), budget, storages, order).load()
    for storage in storages.values():
        storage.data = aligned(read(f"data/{storage.name}"))
    archive.check()
    return tree, "constants.pkl" in records


def _read_sequence(data: bytes, budget: Budget) -> object:
    """Return the objects of a file before torch 1.6."""
    stream, storages = io.BytesIO(data[len(MAGIC) :]), {}
    SafeUnpickler(stream, budget).load()  # the version
    sizes = SafeUnpickler(stream, budget).load()
    order = "<" if not isinstance(sizes, dict) or sizes.get("little_endian", True) else ">"
    tree = _Unpickler(stream, budget, storages, order).load()
    keys = SafeUnpickler(stream, budget).load()
    for key in keys if isinstance(keys, list) else ():
        if not isinstance(key, str) or key not in storages:
            raise Damaged("a storage without a tensor")
        storage, count = storages[key], int.from_bytes(stream.read(8), "little" if order == "<" else "big")
        if storage.code is None:
            raise Damaged(f"a storage of unknown type, {short(storage.name)}")
        if count != storage.entries:
            raise Damaged("a storage is not complete")
        size = count * np.dtype(storage.code).itemsize
        storage.data = stream.read(size)
        if len(storage.data) != size:
            raise Damaged("a storage is not complete")
    return tree


def _attributes(tree: object, budget: Budget, prefix: str = "", depth: int = 0):
    """Yield name and tensor of every attribute of a TorchScript module and its modules.

    Modules can share their modules, so that the number of names doubles with each level: each one is charged.
    """
    state = tree.state if isinstance(tree, Opaque) else None
    for name, value in state.items() if isinstance(state, dict) and depth < 20 else ():
        budget.operate(_NODE)
        budget.create(100 + len(prefix))
        if isinstance(value, Opaque):
            yield from _attributes(value, budget, f"{prefix}{name}.", depth + 1)
        elif isinstance(value, PickledTensor):
            yield f"{prefix}{name}", value
