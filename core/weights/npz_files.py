"""Reader of `.npz` files with the arrays of a state dict, one per name, linear weights [out, in]."""

from __future__ import annotations

import dataclasses
import io
import math
import re
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.weights.budget import Budget
from core.weights.pickled_arrays import aligned, short
from core.weights.state_dict import StateDict, gather, read_bytes
from core.zip_directory import Archive

LINEAR_LAYOUT = "out_in"
_FLAT = (
    (re.compile(r"(.+)_w_(ih|hh)"), r"\1.weight_\2"),
    (re.compile(r"(.+)_b_(ih|hh)"), r"\1.bias_\2"),
    (re.compile(r"(.*emb)"), r"\1.weight"),
    (re.compile(r"(.+)_w"), r"\1.weight"),
    (re.compile(r"(.+)_b"), r"\1.bias"),
)
"""Flat names of arrays, as `enc_w_ih` of g2p-en, and the names of layers that they mean."""

_LONGEST_HEADER = 1 << 16
"""Most bytes of a header of a `.npy` file, which NumPy limits to 10,000 characters."""
_OPERATIONS = 50
"""Charge of an array, whose header Python parses."""


def read_state(path: str | Path, entry: str | None = None) -> StateDict:
    """Read a state dict. Raises UserError for a damaged file and for arrays of objects."""
    where, data = str(path), read_bytes(path)
    budget = Budget(where, len(data))
    try:
        tree = read_arrays(data, budget)
        return _state(tree, budget, entry)
    except UserError:
        raise
    except Exception as error:  # a damaged file can raise any exception
        reason = short(" ".join(str(error).split())) or type(error).__name__
        raise UserError(f"{where}: damaged, or not an .npz file ({reason}): save it with numpy.savez") from None


def read_arrays(data: bytes, budget: Budget, names: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
    """Return the arrays of an archive of `.npy` files, those of `names` if given.

    `numpy.load` allocates any size that a header claims, and unpacks any size. Raises ValueError for damaged archives
    and for arrays of objects.
    """
    archive = Archive(data, budget.create)
    found = {}
    for member in archive.members:
        name = member.name.removesuffix(".npy")
        if names is None or name in names:
            budget.operate(_OPERATIONS)
            found[name] = _array(archive.read(member), short(name))
    return found


def _array(content: memoryview, name: str) -> np.ndarray:
    """Return the array of a `.npy` file."""
    head = io.BytesIO(content[:_LONGEST_HEADER])
    major, _ = np.lib.format.read_magic(head)
    read_header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(head)
    if dtype.hasobject or dtype.itemsize == 0:
        raise ValueError(f"{name} is an array of {'objects' if dtype.hasobject else 'nothing'}")
    if any(axis < 0 for axis in shape) or math.prod(shape) * dtype.itemsize != len(content) - head.tell():
        raise ValueError(f"{name} has not the size of its shape {short(str(shape))}")
    data = aligned(content[head.tell() :])
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _state(tree: dict[str, np.ndarray], budget: Budget, entry: str | None) -> StateDict:
    renamed = {_layer_name(name): array for name, array in tree.items()}
    flat = not any("." in name for name in tree) and any(name.endswith("_w_hh") for name in tree)
    flat = flat and len(renamed) == len(tree)
    if flat:
        tree = renamed
    state = gather(tree, budget, lambda leaf: leaf if isinstance(leaf, np.ndarray) else None, entry)
    if not flat:
        return state
    return dataclasses.replace(state, notes=(*state.notes, "names such as enc_w_ih read as enc.weight_ih"))


def _layer_name(name: str) -> str:
    """Return the name of an array in a layer, or the name itself."""
    for pattern, meant in _FLAT:
        if match := pattern.fullmatch(name):
            return match.expand(meant)
    return name
