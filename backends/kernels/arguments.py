"""Checks of the arrays that the compiled kernels receive: NumPy arrays, or tensors of either framework.

The library trusts its addresses, so that a wrong dtype, shape or length would end the process or give wrong results.
Every array is checked once per call. Errors name the argument. No check synchronizes a device.
"""

from __future__ import annotations

import ctypes
import functools
import math
import operator
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from core.models.encoders.recurrent import GATES, WEIGHT_KINDS, LayerSizes

Shape = tuple[int, ...]
CODES = {"int32": "i", "int64": "q"}
"""Type codes of `array` by dtype."""
UNKNOWN: Shape = (-1,)
"""Shape of an array that a layer does not have."""
Array = Any
"""A NumPy array, or a tensor of a framework."""
Arrays = Array | list[Array | None] | None
"""An array, or one per direction; None for a missing one."""


class Access:
    """Access to arrays of one class."""

    def __init__(self, on_cpu: Callable[[Array], bool], contiguous: Callable[[Array], bool], address: Callable):
        self.on_cpu, self.contiguous, self.address = on_cpu, contiguous, address
        self.dtypes: dict[str, object] = {}
        """Dtypes by name, as found: comparing names, or dtypes of Paddle, takes longer than all other checks."""


@functools.cache
def _access(kind: type) -> Access | None:
    """Return the access to arrays of a class, None if it is no class of arrays."""
    if issubclass(kind, np.ndarray):
        return Access(lambda given: True, lambda given: given.flags.c_contiguous, lambda given: given.ctypes.data)
    if not hasattr(kind, "data_ptr"):
        return None
    if hasattr(kind, "place"):  # Paddle
        return Access(lambda given: given.place.is_cpu_place(), kind.is_contiguous, kind.data_ptr)
    return Access(operator.attrgetter("is_cpu"), kind.is_contiguous, kind.data_ptr)


def _dtype_name(dtype: object) -> str:
    """Return the name of a dtype of any of the libraries, such as `float32`."""
    return str(dtype).rpartition(".")[2]


def _access_of(name: str, given: Array) -> Access:
    found = _access(type(given))
    if found is None:
        raise TypeError(f"{name}: got {type(given).__name__}, expected an array")
    return found


def shape_of(name: str, given: Array, axes: str | None = None) -> Shape:
    """Return the shape of an array, which must have these `axes` (`B, L, F`). Raises TypeError, ValueError."""
    _access_of(name, given)
    shape = tuple(given.shape)
    if axes is not None and len(shape) != axes.count(",") + 1:
        raise ValueError(f"{name}: got shape {list(shape)}, expected [{axes}]")
    return shape


def float64(name: str, given: Array) -> bool:
    """Return whether an array of floating-point numbers is float64; otherwise it is float32. Raises TypeError."""
    _access_of(name, given)
    found = _dtype_name(given.dtype)
    if found not in ("float32", "float64"):
        raise TypeError(f"{name}: got {found}, expected float32 or float64")
    return found == "float64"


def expect(name: str, given: Array, shape: Shape, dtype: str) -> Access:
    """Check dtype and shape. Raises TypeError, ValueError."""
    access = _access_of(name, given)
    if shape is UNKNOWN:
        raise TypeError(f"{name}: got an array that this cell does not have, expected None")
    if _dtype_name(given.dtype) != dtype:
        raise TypeError(f"{name}: got {_dtype_name(given.dtype)}, expected {dtype}")
    access.dtypes[dtype] = given.dtype
    if tuple(given.shape) != shape:
        raise ValueError(f"{name}: got shape {list(given.shape)}, expected {list(shape)}")
    return access


def address(name: str, given: Array, shape: Shape, dtype: str) -> int:
    """Return the address of a C-contiguous array on the CPU. Raises TypeError, ValueError."""
    access = _access(type(given))
    # One expression without further calls: a step has thirty arrays per layer.
    if (
        access is None
        or given.dtype is not access.dtypes.get(dtype)
        or tuple(given.shape) != shape
        or not access.on_cpu(given)
        or not access.contiguous(given)
    ):
        access = expect(name, given, shape, dtype)
        if not access.on_cpu(given):
            place = given.place if hasattr(given, "place") else given.device
            raise ValueError(f"{name}: got a tensor on {place}, expected one on the CPU")
        if not access.contiguous(given):
            raise ValueError(f"{name}: got a non-contiguous array, expected a C-contiguous one")
    return access.address(given)


def integers(name: str, values: Array, shape: Shape, dtype: str, allowed: range) -> array[int]:
    """Return a flat copy of int32 or int64 values, all within `allowed`. Raises TypeError, ValueError."""
    source = address(name, values, shape, dtype)
    copy = array(CODES[dtype])
    size = math.prod(shape) * copy.itemsize
    if size:
        copy.frombytes(ctypes.string_at(source, size))
        view = np.frombuffer(copy, dtype)
        for value in (copy[view.argmin()], copy[view.argmax()]):  # `min` and `max` take twice as long
            if value not in allowed:
                raise ValueError(f"{name}: got {value}, expected {allowed.start} to {allowed.stop - 1}")
    return copy


def sides(name: str, arrays: Arrays, directions: int) -> Sequence[Array | None]:
    """Return a list of arrays, one per direction; of None for None. Raises ValueError."""
    if arrays is None:
        return [None] * directions
    if len(arrays) != directions:
        raise ValueError(f"{name}: got {len(arrays)} arrays, expected {directions}, one per direction")
    return arrays


@functools.lru_cache(maxsize=256)
def layer_shapes(sizes: LayerSizes, shape: Shape) -> dict[str, Shape]:
    """Return the shapes of the arrays of a layer with x of `shape` [B, L, I], and of their gradients, by name.

    Raises ValueError for an empty batch or width, for unknown sizes, and for unequal numbers of sequences per model.
    """
    inputs, hidden, directions, models = sizes.inputs, sizes.hidden, sizes.directions, sizes.models
    if sizes.cell not in GATES or directions not in (1, 2) or (models is not None and models < 1):
        raise ValueError(f"sizes: got {sizes}, expected a cell of {', '.join(GATES)}, 1 or 2 directions, models >= 1")
    if len(shape) != 3 or shape[2] != inputs:
        raise ValueError(f"x: got shape {list(shape)}, expected [B, L, {inputs}]")
    batch, width, _ = shape
    if min(batch, width, inputs, hidden) < 1:
        raise ValueError(f"got x {list(shape)}, H {hidden}, expected at least one sequence, token, input and unit")
    if batch % (models or 1):
        raise ValueError(f"got {batch} sequences for {models} models, expected equal numbers")
    lead = () if models is None else (models,)
    rows, state = GATES[sizes.cell] * hidden, (*lead, directions, batch // (models or 1), hidden)
    weights = ((*lead, rows, inputs), (*lead, rows, hidden), (*lead, rows), (*lead, rows))
    found = {
        "x": (batch, width, inputs),
        "output": (batch, width, directions * hidden),
        "h_0": state,
        "h_n": state,
        **({"c_0": state, "c_n": state} if sizes.cell == "lstm" else {}),
        **dict(zip(WEIGHT_KINDS, weights, strict=True)),
    }
    return {**found, **{f"d_{name}": shape for name, shape in found.items()}}
