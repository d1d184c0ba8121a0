"""Arrays in a pickle, with checked sizes and number types."""

from __future__ import annotations

import math

import numpy as np

from core.errors import UserError
from core.weights.budget import Budget

_NUMBER_TYPES = frozenset(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"])
_LONGEST_AXIS = 2**31


class Damaged(ValueError):
    """An inconsistent sequence of opcodes."""


def short(text: str) -> str:
    """Return text from the file, made printable and truncated for an error message."""
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= 80 else text[:77] + "..."


def damaged(where: str, kind: str, error: Exception, data: bytes) -> UserError:
    """Return the one-line error for a file that is not of the expected kind."""
    # The text of a KeyError is that of its key, which can be a tuple of 2**40 equal elements.
    found = short(" ".join(str(error).split())) if not isinstance(error, KeyError) else ""
    reason = f"damaged, or not {kind} ({found or type(error).__name__})" if data else "the file is empty"
    return UserError(f"{where}: {reason}, expected a state dict: copy or save the file again")


class PickledArray:
    """A pickled array. `array()` returns a view of the file's memory in the stored number type."""

    __slots__ = ("data", "dtype", "fortran", "shape")

    def __init__(self) -> None:
        self.data = None

    def fill(self, budget: Budget, shape: object, dtype: object, fortran: object, data: object) -> PickledArray:
        """Check sizes and type before storing the data. Raises Damaged."""
        if isinstance(data, str):
            budget.create(len(data))
            data = data.encode("latin-1")  # a byte string of Python 2
        if self.data is not None or not isinstance(dtype, NumberType) or not isinstance(data, bytes):
            raise Damaged("an array that is not made of plain numbers")
        # Checked before formatting an error: a few bytes can describe a tuple of 2**40 equal elements.
        if not isinstance(shape, tuple) or len(shape) > 32 or any(type(axis) is not int for axis in shape):
            raise Damaged("an array without a shape")
        if not all(0 <= axis <= _LONGEST_AXIS for axis in shape):
            raise Damaged(f"an array of shape {short(str(shape))}")
        wanted = math.prod(shape) * dtype.numpy.itemsize
        if wanted != len(data):
            raise Damaged(f"an array of shape {list(shape)} needs {wanted} bytes but has {len(data)}")
        self.shape, self.dtype, self.fortran, self.data = shape, dtype.numpy, bool(fortran), data
        return self

    def build(self, budget: Budget, state: object) -> None:
        """Load the state of a NumPy array: (version, shape, dtype, is_fortran, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise Damaged("an array state of unknown form")
        self.fill(budget, *state[1:])

    def array(self) -> np.ndarray:
        if self.data is None:
            raise Damaged("an array without contents")
        return np.frombuffer(self.data, self.dtype).reshape(self.shape, order="F" if self.fortran else "C")


class NumberType:
    """A replacement of `numpy.dtype(code, False, True)`, with the byte order of its state."""

    __slots__ = ("numpy",)

    def __init__(self, code: object, align: object = False, copy: object = True) -> None:
        if not isinstance(code, str):
            raise Damaged("an array type of unknown form")
        if code.lstrip("<>=|") not in _NUMBER_TYPES:
            raise Damaged(f"an array of the type {short(repr(code))}, which is not a plain number")
        self.numpy = np.dtype(code)

    def build(self, budget: Budget, state: object) -> None:
        if not isinstance(state, tuple) or not 2 <= len(state) <= 10 or state[1] not in ("<", ">", "=", "|"):
            raise Damaged("an array type of unknown form")
        self.numpy = self.numpy.newbyteorder(state[1])


def aligned(content: memoryview) -> memoryview | bytes:
    """Return memory of a file, copied if it does not begin at a multiple of 8 bytes.

    A record of a zip archive can begin at any byte, but frameworks expect aligned arrays.
    """
    return content if np.frombuffer(content, np.uint8).ctypes.data % 8 == 0 else bytes(content)


def ndarray(*_):
    raise Damaged("an array built in an unknown way")


def reconstruct(_, kind, shape, code):
    if kind is not ndarray:
        raise Damaged("an array of an unknown kind")
    return PickledArray()
