"""A state dict as a file holds it: float arrays by name, what else lay in the file, and what was done on reading.

Every reader (`core/weights/paddle_files.py`, `core/weights/safetensors_files.py`, `backends/*/state_files.py`) hands
its decoded tree to `gather`, which finds the state dict in it, also where a checkpoint keeps it one or two levels down.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.errors import UserError

TOP = "."
KERNEL = re.compile(r"\d\.weight$")
"""Name of a file's top level, as an entry of the file."""
_DEEPEST = 3


@dataclass(frozen=True)
class StateDict:
    """`arrays` are float32 or float64, in the file's order and layout; `left_out` says of each other entry what it is.

    `where` names the file in errors; `notes` say what was done on reading, for the user to read.
    """

    where: str
    arrays: dict[str, np.ndarray]
    left_out: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    ordered: bool = True
    """Whether the file keeps the order in which the module lists its arrays."""


def read_bytes(path: str | Path) -> bytes:
    """A whole file. Raises UserError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except MemoryError:
        raise UserError(f"{path}: larger than this machine's memory") from None


def gather(
    tree: object, where: str, as_array: Callable[[object], np.ndarray | None], entry: str | None = None
) -> StateDict:
    """The state dict in a decoded file.

    `as_array` gives a leaf as an array (uint16 stands for bfloat16, as in Paddle's files), or None for what is no
    array. `entry` names the part to take (`model`, `checkpoint.model`, `.` for the top) where several hold recurrent
    weights. Raises UserError if there is none, or several and no `entry`.
    """
    if not isinstance(tree, dict):
        raise UserError(f"{where}: holds {describe(tree, as_array)}, not a state dict: save the model's state_dict()")
    found = {_path(trail): (trail, part) for trail, part in _dicts(tree) if _is_state(part, as_array)}
    if entry is not None:
        found = {path: part for path, part in found.items() if path == entry}
    if not found:
        part = "" if entry is None else f" in `entry` {entry}"
        names = ", ".join(_name(key, where) for key in list(tree)[:6]) or "nothing"
        raise UserError(
            f"{where}: no recurrent layer{part}, no name like lstm.weight_ih_l0, and no convolutions (it begins with"
            f" {names})"
        )
    if len(found) > 1:
        parts = ", ".join(_name(path, where) for path in found)
        raise UserError(f"{where}: holds several state dicts: {parts}; choose one with `entry` NAME")
    ((path, (trail, part)),) = found.items()
    notes = [] if path == TOP else [f"the state dict is the entry {path} of the file"]
    left_out = {name: describe(value, as_array) for name, value in _beside(tree, trail, where)}
    arrays: dict[str, np.ndarray] = {}
    widened: dict[str, int] = {}
    for key, value in part.items():
        name, array = _name(key, where), as_array(value)
        kind = None if array is None else _WIDENED.get(array.dtype.name)
        if array is None or (kind is None and array.dtype.name not in ("float32", "float64")):
            left_out[name] = describe(value, as_array)
            continue
        if kind is not None:
            label, widen = kind
            widened[label] = widened.get(label, 0) + 1
            array = widen(array)
        arrays[name] = array.astype(array.dtype.newbyteorder("="), copy=False)
    notes += [f"{count} arrays in {label}: widened to float32" for label, count in widened.items()]
    return StateDict(where, arrays, left_out, tuple(notes))


def _from_bfloat16(array: np.ndarray) -> np.ndarray:
    """uint16 holding the upper half of float32's bits."""
    return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)


_WIDENED = {"float16": ("float16", lambda array: array.astype(np.float32)), "uint16": ("bfloat16", _from_bfloat16)}


def _dicts(tree: dict) -> Iterator[tuple[tuple, dict]]:
    """(keys on the way, dict), each dict once however often it is referred to, the outer ones first."""
    seen, level = {id(tree)}, [((), tree)]
    for _ in range(_DEEPEST):
        yield from level
        below = []
        for trail, part in level:
            for key, value in part.items():
                if isinstance(value, dict) and id(value) not in seen:
                    seen.add(id(value))
                    below.append(((*trail, key), value))
        level = below


def _path(trail: tuple) -> str:
    return ".".join(str(key) for key in trail) or TOP


def _is_state(part: dict, as_array: Callable) -> bool:
    """Whether a dict holds what an encoder is known by: recurrent arrays, or numbered kernels of a convolution."""
    for key in part:
        if not isinstance(key, str) or not ("weight_ih" in key or KERNEL.search(key)):
            continue
        array = as_array(part[key])
        if array is not None and ("weight_ih" in key or array.ndim in (3, 4)):
            return True
    return False


def _beside(tree: dict, trail: tuple, where: str) -> Iterator[tuple[str, object]]:
    """What stands beside the part at the end of `trail`, in each dict on the way down."""
    for depth, step in enumerate(trail):
        above = [_name(key, where) for key in trail[:depth]]
        yield from ((".".join([*above, _name(key, where)]), value) for key, value in tree.items() if key is not step)
        tree = tree[step]


def _name(key: object, where: str) -> str:
    """A key as text. Raises UserError for one that would not show on a line."""
    name = str(key)
    if not name.isprintable() or len(name) > 200:
        raise UserError(f"{where}: the name {ascii(name)[:60]} in it cannot be shown: not a state dict")
    return name


def describe(value: object, as_array: Callable[[object], np.ndarray | None]) -> str:
    """A few words on an entry that is not taken."""
    array = as_array(value)
    if array is not None:
        return f"{array.dtype.name} {list(array.shape)}"
    if isinstance(value, dict | list | tuple):
        return f"{type(value).__name__} of {len(value)}"
    if isinstance(value, str | int | float | bool | type(None)):
        text = value if isinstance(value, str) else f"{value:.6g}" if isinstance(value, float) else str(value)[:40]
        return ascii(text[:40]) if isinstance(value, str) else text
    return type(value).__name__
