"""Checks of the arrays that the compiled kernels receive: NumPy arrays, or tensors of either framework.

The library trusts its addresses, so that a wrong dtype, shape or length would end the process or give wrong results.
Every array is checked once per call. Errors name the argument. No check synchronizes a device.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from core.models.encoders.recurrent import GATES, WEIGHT_KINDS, LayerSizes

Shape = tuple[int, ...]
Array = Any
"""A NumPy array, or a tensor of a framework."""
Arrays = Array | list[Array | None] | None
"""An array, or one per direction; None for a missing one."""


class Access(NamedTuple):
    """Functions of an array of one class."""

    on_cpu: Callable[[Array], bool]
    contiguous: Callable[[Array], bool]
    address: Callable[[Array], int]


@functools.cache
def _access(kind: type) -> Access | None:
    """Return the functions of a class, None if it is no class of arrays."""
    if issubclass(kind, np.ndarray):
        return Access(lambda array: True, lambda array: array.flags.c_contiguous, lambda array: array.ctypes.data)
    if not hasattr(kind, "data_ptr"):
        return None
    if hasattr(kind, "place"):  # Paddle
        return Access(lambda array: array.place.is_cpu_place(), kind.is_contiguous, kind.data_ptr)
    return Access(lambda array: array.device.type == "cpu", kind.is_contiguous, kind.data_ptr)


@functools.cache
def _dtype_name(dtype: object) -> str:
    """Return the name of a dtype of any of the libraries, such as `float32`."""
    return str(dtype).rpartition(".")[2]


def _access_of(name: str, array: Array) -> Access:
    found = _access(type(array))
    if found is None:
        raise TypeError(f"{name}: got {type(array).__name__}, expected an array")
    return found


def shape_of(name: str, array: Array, axes: str | None = None) -> Shape:
    """Return the shape of an array, which must have these `axes` (`B, L, F`). Raises TypeError, ValueError."""
    _access_of(name, array)
    shape = tuple(array.shape)
    if axes is not None and len(shape) != axes.count(",") + 1:
        raise ValueError(f"{name}: got shape {list(shape)}, expected [{axes}]")
    return shape


def float64(name: str, array: Array) -> bool:
    """Return whether an array of floating-point numbers is float64; otherwise it is float32. Raises TypeError."""
    _access_of(name, array)
    found = _dtype_name(array.dtype)
    if found not in ("float32", "float64"):
        raise TypeError(f"{name}: got {found}, expected float32 or float64")
    return found == "float64"


def expect(name: str, array: Array, shape: Shape, dtype: str) -> Access:
    """Check dtype and shape. Raises TypeError, ValueError."""
    access = _access_of(name, array)
    if _dtype_name(array.dtype) != dtype:
        raise TypeError(f"{name}: got {_dtype_name(array.dtype)}, expected {dtype}")
    if tuple(array.shape) != shape:
        raise ValueError(f"{name}: got shape {list(array.shape)}, expected {list(shape)}")
    return access


def address(name: str, array: Array, shape: Shape, dtype: str) -> int:
    """Return the address of a C-contiguous array on the CPU. Raises TypeError, ValueError."""
    on_cpu, contiguous, address_of = expect(name, array, shape, dtype)
    if not on_cpu(array):
        place = array.place if hasattr(array, "place") else array.device
        raise ValueError(f"{name}: got a tensor on {place}, expected one on the CPU")
    if not contiguous(array):
        raise ValueError(f"{name}: got a non-contiguous array, expected a C-contiguous one")
    return address_of(array)


def integers(name: str, array: Array, shape: Shape, dtype: str, allowed: range) -> np.ndarray:
    """Return a copy of an array of integers, all within `allowed`. Raises TypeError, ValueError."""
    source = address(name, array, shape, dtype)
    values = np.empty(shape, dtype)
    if values.size:
        ctypes.memmove(values.ctypes.data, source, values.nbytes)
        for value in (values.min(), values.max()):
            if not allowed.start <= value < allowed.stop:
                raise ValueError(f"{name}: got {value}, expected {allowed.start} to {allowed.stop - 1}")
    return values


def layer_shapes(sizes: LayerSizes, shape: Sequence[int]) -> dict[str, Shape | None]:
    """Return the shapes of the arrays of a layer with x of `shape` [B, L, I]; gradients have equal shapes.

    None for a cell state that the cell does not have. Raises ValueError for an empty batch or width, for unknown sizes,
    and if B is not a multiple of the number of models.
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
    cell_state = state if sizes.cell == "lstm" else None
    weights = ((*lead, rows, inputs), (*lead, rows, hidden), (*lead, rows), (*lead, rows))
    return {
        "x": (batch, width, inputs),
        "output": (batch, width, directions * hidden),
        "h_0": state,
        "h_n": state,
        "c_0": cell_state,
        "c_n": cell_state,
        **dict(zip(WEIGHT_KINDS, weights, strict=True)),
    }
