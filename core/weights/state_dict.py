"""State dicts of files: float arrays by name, skipped entries, and notes.

Every reader (`core/weights/paddle_files.py`, `core/weights/safetensors_files.py`, `backends/*/weight_files.py`) passes
its decoded tree to `gather`, which finds the state dict, also if a checkpoint nests it one or two levels deep.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.weights.budget import Budget
from core.weights.opaque import Opaque, whole_module

TOP = "."
"""Entry name of a file's top level."""
KERNEL = re.compile(r"\d\.(weight(_v)?|parametrizations\.weight\.original1)$")
"""Names of numbered convolution kernels, also with weight norm."""
_DEEPEST = 3
_LONGEST_NAME = 200
"""Most characters of a name, or of the path to a state dict."""
_OPERATIONS = 20
"""Charge of an entry of a state dict, whose name and shape are looked at several times."""


@dataclass(frozen=True)
class StateDict:
    """A state dict: float32 or float64 `arrays` in the order and layout of the file.

    `skipped` describes the skipped entries by name. `where` names the file in errors. `notes` tell the user about
    conversions.
    """

    where: str
    arrays: dict[str, np.ndarray]
    skipped: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unread: dict[str, str] = field(default_factory=dict)
    """Arrays of other number types with more than one entry: the model may compute with them."""
    ordered: bool = True
    """True if the file preserves the array order of the module."""


def read_bytes(path: str | Path) -> bytes:
    """Read a file. Raises UserError if it cannot be read."""
    try:
        # A sparse file of a few bytes can claim any size.
        if Path(path).stat().st_size > _memory():
            raise MemoryError
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): check the path") from None
    except MemoryError:
        raise UserError(f"{path}: larger than the memory of this machine: use a machine with more memory") from None


def _memory() -> float:
    """Return the memory of this machine in bytes, infinity where the system does not tell."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else float("inf")


def gather(
    tree: object, budget: Budget, as_array: Callable[[object], np.ndarray | None], entry: str | None = None
) -> StateDict:
    """Find the state dict in a decoded file. `budget` is that of the file: names can share one array many times.

    `as_array` converts a leaf to an array (uint16 means bfloat16, as in Paddle's files), or returns None. `entry` names
    the entry to use (`model`, `checkpoint.model`, `.` for the top level) if several contain encoder weights. Raises
    UserError if there is none, or several and no `entry`.
    """
    where = budget.where
    if not isinstance(tree, dict):
        raise whole_module(tree, where) or UserError(
            f"{where}: got {describe(tree, as_array)}, expected a state dict: save the model's state_dict()"
        )
    parts = {_path(trail): (trail, part) for trail, part in _dicts(tree)}
    found = {path: pair for path, pair in parts.items() if _is_state(pair[1], as_array)}
    if not found:  # no classifier, but `core/weights/layers.py` reads any layers
        found = {path: pair for path, pair in parts.items() if _has_layers(pair[1], as_array)}
    if entry is not None:
        found = {path: part for path, part in found.items() if path == entry}
    if not found:
        if (error := whole_module(tree, where)) is not None:
            raise error
        part = "" if entry is None else f" in `entry` {entry}"
        names = ", ".join(_name(key, where)[:60] for key in list(tree)[:6]) or "nothing"
        raise UserError(
            f"{where}: no recurrent layer{part}, with names like lstm.weight_ih_l0, no convolutions, and no arrays"
            f" named weight: rename the arrays, or give another file (first entries: {names})"
        )
    if len(found) > 1:
        parts = listed([_name(path, where) for path in found])
        raise UserError(f"{where}: several state dicts, {parts}: choose one with `entry` NAME")
    ((path, (trail, part)),) = found.items()
    notes = [] if path == TOP else [f"state dict read from entry {path} of the file"]
    skipped = {name: describe(value, as_array) for name, value in _beside(tree, trail, where)}
    arrays: dict[str, np.ndarray] = {}
    widened: dict[str, int] = {}
    unread: dict[str, str] = {}
    for key, value in part.items():
        budget.operate(_OPERATIONS)
        name, array = _name(key, where), as_array(value)
        kind = None if array is None else _WIDENED.get(array.dtype.name)
        if array is None or (kind is None and array.dtype.name not in ("float32", "float64")):
            unknown = isinstance(value, Opaque) or getattr(value, "is_tensor", False)
            into = unread if (unknown if array is None else array.size > 1) else skipped
            into[name] = describe(value, as_array)
            continue
        budget.create(array.nbytes * (1 if kind is None else 3))
        if kind is not None:
            label, widen = kind
            widened[label] = widened.get(label, 0) + 1
            array = widen(array)
        arrays[name] = array.astype(array.dtype.newbyteorder("="), copy=False)
    notes += [f"{count} arrays converted from {label} to float32" for label, count in widened.items()]
    return StateDict(where, arrays, skipped, tuple(notes), unread)


def _from_bfloat16(array: np.ndarray) -> np.ndarray:
    """Convert uint16 with the upper bits of float32 to float32."""
    return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)


_WIDENED = {"float16": ("float16", lambda array: array.astype(np.float32)), "uint16": ("bfloat16", _from_bfloat16)}


def _dicts(tree: dict) -> Iterator[tuple[tuple, dict]]:
    """Yield (path of keys, dict) for every distinct dict, outer dicts first."""
    seen, level = {id(tree)}, [((), tree)]
    for _ in range(_DEEPEST):
        yield from level
        below = []
        for trail, part in level:
            for key, value in part.items():
                if isinstance(value, dict) and _printable(key) and id(value) not in seen:
                    seen.add(id(value))
                    below.append(((*trail, key), value))
        level = below


def _path(trail: tuple) -> str:
    return ".".join(str(key) for key in trail) or TOP


def _is_state(part: dict, as_array: Callable) -> bool:
    """Return whether a dict has arrays of an encoder: recurrent ones, or numbered kernels."""
    for key in part:
        if not isinstance(key, str) or not ("weight_ih" in key or KERNEL.search(key)):
            continue
        array = as_array(part[key])
        if array is not None and ("weight_ih" in key or array.ndim in (3, 4)):
            return True
    return False


def _has_layers(part: dict, as_array: Callable) -> bool:
    """Return whether a dict has an array named `weight`, alone or of a module."""
    names = [key for key in part if isinstance(key, str) and key.rpartition(".")[2] in ("weight", "weight_v")]
    return any(as_array(part[name]) is not None for name in names)


def _beside(tree: dict, trail: tuple, where: str) -> Iterator[tuple[str, object]]:
    """Yield the other entries of every dict along `trail`."""
    for depth, step in enumerate(trail):
        above = [_name(key, where) for key in trail[:depth]]
        yield from ((".".join([*above, _name(key, where)]), value) for key, value in tree.items() if key is not step)
        tree = tree[step]


def _name(key: object, where: str) -> str:
    """Return a key as text. Raises UserError for a key that cannot be printed on one line."""
    name = str(key)
    if not _printable(name):
        raise UserError(f"{where}: unprintable name {ascii(name[:60])[:60]}, expected a state dict: give another file")
    return name


def _printable(key: object) -> bool:
    name = str(key)
    return len(name) <= _LONGEST_NAME and name.isprintable()


def listed(names: Sequence[str], most: int = 8) -> str:
    """Return names in one line, at most `most`, and the number of the others."""
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return ", ".join([*names[:most], *more])


def describe(value: object, as_array: Callable[[object], np.ndarray | None]) -> str:
    """Describe a skipped entry in a few words."""
    array = as_array(value)
    if array is not None:
        return f"{array.dtype.name} {list(array.shape)}"
    if isinstance(value, dict | list | tuple):
        return f"{type(value).__name__} of {len(value)}"
    if isinstance(value, str | int | float | bool | type(None)):
        text = value if isinstance(value, str) else f"{value:.6g}" if isinstance(value, float) else str(value)[:40]
        return ascii(text[:40]) if isinstance(value, str) else text
    named = isinstance(value, Opaque) or getattr(value, "is_tensor", False)
    return str(value) if named else type(value).__name__
