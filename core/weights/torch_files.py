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
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np

from core.errors import UserError
from core.weights.opaque import Opaque
from core.weights.pickled_arrays import Damaged, PickledArray, short
from core.weights.safe_pickle import SafeUnpickler
from core.weights.state_dict import StateDict, gather, read_bytes

LINEAR_LAYOUT = "out_in"
MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of a file before torch 1.6."""
_TYPES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "b1",
}


class _Storage:
    """Memory of tensors; `data` is None until it is read, `code` None for an unknown number type."""

    __slots__ = ("code", "data", "entries", "kind", "name")

    def __init__(self, name: str, kind: str, order: str, entries: int) -> None:
        code = _TYPES.get(kind)
        self.name, self.kind, self.entries = name, kind, entries
        self.code = None if code is None else order + code
        self.data: bytes | None = None


class PickledTensor:
    """A tensor: a view of a storage, with offset and strides in entries."""

    is_tensor = True
    __slots__ = ("offset", "shape", "storage", "strides")

    def __init__(self, storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def __str__(self) -> str:
        return f"tensor of {self.storage.kind} {short(str(list(self.shape)))}, not read"

    def array(self) -> np.ndarray | None:
        """Return the entries, None for an unknown number type or more entries than the storage has."""
        if self.storage.code is None or self.storage.data is None:
            return None
        entries, size = np.frombuffer(self.storage.data, self.storage.code), math.prod(self.shape)
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if size and last >= len(entries):
            raise Damaged(f"a tensor of shape {short(str(list(self.shape)))} is larger than its storage")
        # A stride of zero lets a small file claim any size.
        if size > len(entries):
            return None
        strides = [entries.itemsize * stride for stride in self.strides]
        view = entries[self.offset :] if size else entries[:0]
        return np.lib.stride_tricks.as_strided(view, self.shape, strides, writeable=False)


def _tensor(storage, offset, shape, strides, *_):
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise Damaged("a tensor of unknown form")
    if len(shape) != len(strides) or len(shape) > 32:
        raise Damaged("a tensor of unknown form")
    if any(type(size) is not int or not 0 <= size < 2**40 for size in (offset, *shape, *strides)):
        raise Damaged("a tensor of unknown form")
    return PickledTensor(storage, offset, shape, strides)


def _rebuild(function, kind, arguments, state):
    if function not in (_tensor, _parameter):
        raise Damaged("a tensor of unknown form")
    return function(*arguments)


def _parameter(data, *_):
    return data


class _Unpickler(SafeUnpickler):
    """The safe unpickler with tensors; `storages` are those of the persistent ids, by key."""

    calls: ClassVar[dict[str, Callable]] = {
        **SafeUnpickler.calls,
        "torch._utils._rebuild_tensor": _tensor,
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_parameter_with_state": _parameter,
        "torch._tensor._rebuild_from_type_v2": _rebuild,
        "torch.Size": lambda items=(): tuple(items),
    }
    dispatch = SafeUnpickler.dispatch.__class__(SafeUnpickler.dispatch)

    def __init__(self, stream: io.BytesIO, where: str, storages: dict[str, _Storage], order: str = "<") -> None:
        super().__init__(stream, where)
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
        made = _Storage(key, kind.name.rpartition(".")[2], self.order, entries)
        self.append(self.storages.setdefault(key, made))


_Unpickler.dispatch[ord("Q")] = _Unpickler.load_binpersid  # type: ignore[index]


def read_state(path: str | Path, entry: str | None = None) -> StateDict:
    """Read a state dict of `torch.save`, or of a TorchScript archive, without running code of the file.

    Raises UserError for a damaged file, a pickled module, and names that only an attack needs.
    """
    where, data = str(path), read_bytes(path)
    notes: tuple[str, ...] = ()
    try:
        if data.startswith(MAGIC):
            tree = _read_sequence(data, where)
        else:
            tree, script = _read_zip(data, where)
            if script:
                tree, notes = dict(_attributes(tree)), ("TorchScript archive: only its weights are read",)
        state = gather(tree, where, as_array, entry)
    except UserError:
        raise
    except Exception as error:  # a damaged file can raise any exception
        reason = short(str(error) or type(error).__name__) if data else ""
        what = f"damaged, or not a torch file ({reason})" if data else "the file is empty"
        raise UserError(f"{where}: {what}, expected a state dict: copy or save the file again") from None
    return StateDict(where, state.arrays, state.skipped, (*notes, *state.notes), state.unread)


def as_array(leaf: object) -> np.ndarray | None:
    if isinstance(leaf, PickledTensor):
        return leaf.array()
    return leaf.array() if isinstance(leaf, PickledArray) and leaf.data is not None else None


def _read_zip(data: bytes, where: str) -> tuple[object, bool]:
    """Return the objects of `data.pkl`, and whether the archive has code."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = {record.filename.partition("/")[2]: record for record in archive.infolist()}

        def read(name: str) -> bytes:
            # A compressed record can claim any size.
            if name not in records or records[name].compress_type != zipfile.ZIP_STORED:
                raise Damaged(f"no record {short(name)}")
            return archive.read(records[name])

        storages: dict[str, _Storage] = {}
        order = ">" if "byteorder" in records and read("byteorder") == b"big" else "<"
        tree = _Unpickler(io.BytesIO(read("data.pkl")), where, storages, order).load()
        for storage in storages.values():
            storage.data = read(f"data/{storage.name}")
    return tree, "constants.pkl" in records


def _read_sequence(data: bytes, where: str) -> object:
    """Return the objects of a file before torch 1.6."""
    stream, storages = io.BytesIO(data[len(MAGIC) :]), {}
    SafeUnpickler(stream, where).load()  # the version
    sizes = SafeUnpickler(stream, where).load()
    order = "<" if not isinstance(sizes, dict) or sizes.get("little_endian", True) else ">"
    tree = _Unpickler(stream, where, storages, order).load()
    keys = SafeUnpickler(stream, where).load()
    for key in keys if isinstance(keys, list) else ():
        storage, count = storages[key], int.from_bytes(stream.read(8), "little" if order == "<" else "big")
        if storage.code is None:
            raise Damaged(f"a storage of unknown type, {short(storage.name)}")
        size = count * np.dtype(storage.code).itemsize
        storage.data = stream.read(size)
        if count != storage.entries or len(storage.data) != size:
            raise Damaged("a storage is not complete")
    return tree


def _attributes(tree: object, prefix: str = "", depth: int = 0):
    """Yield name and tensor of every attribute of a TorchScript module and its modules."""
    state = tree.state if isinstance(tree, Opaque) else None
    for name, value in state.items() if isinstance(state, dict) and depth < 20 else ():
        if isinstance(value, Opaque):
            yield from _attributes(value, f"{prefix}{name}.", depth + 1)
        elif isinstance(value, PickledTensor):
            yield f"{prefix}{name}", value
