"""Tensors of torch's files: storages, views of them, and the functions that a pickle calls to rebuild them."""

from __future__ import annotations

import math

import numpy as np

from core.weights.budget import Budget
from core.weights.opaque import Opaque
from core.weights.pickle_calls import items_of
from core.weights.pickled_arrays import Damaged, short

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
_OPERATIONS, _MEMORY = 10, 300
"""Charge of a tensor, whose form is checked."""
_DIMENSIONS = 32
"""Most dimensions of a tensor, which every version of NumPy has."""


class Storage:
    """Memory of tensors; `data` is None until it is read, `code` None for an unknown number type."""

    __slots__ = ("code", "data", "entries", "kind", "name")

    def __init__(self, name: str, kind: str, order: str, entries: int) -> None:
        code = _TYPES.get(kind)
        self.name, self.kind, self.entries = name, kind, entries
        self.code = None if code is None else order + code
        self.data: bytes | memoryview | None = None


class PickledTensor:
    """A tensor: a view of a storage, with offset and strides in entries; `negative` if its sign is to be changed."""

    is_tensor = True
    __slots__ = ("negative", "offset", "shape", "storage", "strides")

    def __init__(self, storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides
        self.negative = False

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
        found = np.lib.stride_tricks.as_strided(view, self.shape, strides, writeable=False)
        return np.negative(found) if self.negative else found


def _tensor(budget: Budget, storage, offset, shape, strides, *more):
    budget.operate(_OPERATIONS)
    budget.create(_MEMORY)
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise Damaged("a tensor of unknown form")
    if len(shape) > _DIMENSIONS:
        raise Damaged(f"a tensor of {len(shape):,} dimensions, expected at most {_DIMENSIONS}")
    if len(shape) != len(strides):
        raise Damaged("a tensor of unknown form")
    if any(type(size) is not int or not 0 <= size < 2**40 for size in (offset, *shape, *strides)):
        raise Damaged("a tensor of unknown form")
    made = PickledTensor(storage, offset, shape, strides)
    # The seventh argument of _rebuild_tensor_v2 has the bits of lazy views, such as that of x.conj().imag.
    bits = more[2] if len(more) > 2 else None
    made.negative = isinstance(bits, dict) and bits.get("neg") is True
    return made


def _typed(budget: Budget, function, kind, arguments, state):
    """Return the tensor of a subclass of torch.Tensor, or a stand-in for one that is rebuilt in an unknown way."""
    if not isinstance(arguments, tuple):
        raise Damaged("a tensor of unknown form")
    if isinstance(function, Opaque):
        return function(*arguments[:1])
    if function not in (_tensor, _parameter):
        raise Damaged("a tensor of unknown form")
    return function(budget, *arguments)


def _parameter(budget: Budget, data, *_):
    return data


CALLS = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _typed,
    "torch.Size": items_of,
}
"""Names of torch that a pickle may use, with their safe replacements, which take the budget as first argument."""
