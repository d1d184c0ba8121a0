"""Weights that are stored as something else: weight norm is computed, everything else is refused.

| in the file | kind |
|---|---|
| `NAME_g`, `NAME_v`; `MODULE.parametrizations.NAME.original0`, `original1` | weight norm: NAME = g v / |v| |
| `NAME_orig`, `NAME_u` (`NAME_v`); `parametrizations.NAME.original`, `parametrizations.NAME.0._u` | spectral norm |
| `NAME_orig`, `NAME_mask` | pruning |
| `NAME_raw` of a recurrent layer, often with a stale `module.NAME` | weight drop (AWD-LSTM) |

The norm of weight norm is over all axes but one. torch stores g with the rank of v and 1 on the other axes, or as a
scalar for the norm over all axes; Paddle stores g [n], where n is the length of the axis.
"""

from __future__ import annotations

import re

import numpy as np

from core.errors import UserError
from core.weights.finders import check_finite, shown

Arrays = dict[str, np.ndarray]
_DIRECTION = re.compile(r"(.*)_v")
_ORIGINAL = re.compile(r"((?:.*\.)?)parametrizations\.([^.]+)\.original1")
_RAW = re.compile(r"(.*weight_hh_l\d+(?:_reverse)?)_raw")
_SPECTRAL = "build the model, load this file, call remove_spectral_norm() or parametrize.remove_parametrizations()"


def folded(arrays: Arrays, where: str) -> tuple[Arrays, list[str]]:
    """Return the arrays with weight norm computed, in their order, and notes for the user.

    Raises UserError for every other reparametrization, as its stored arrays are not those that the model computes with.
    """
    _refuse_others(arrays, where)
    computed: dict[str, tuple[str, np.ndarray]] = {}
    norms, notes = set(), []
    names: dict[str, tuple[str, str]] = {}
    for name in arrays:
        if match := _ORIGINAL.fullmatch(name):
            names[match[1] + match[2]] = name.removesuffix("1") + "0", name
        elif (match := _DIRECTION.fullmatch(name)) and f"{match[1]}_g" in arrays:
            names[match[1]] = f"{match[1]}_g", name
    for weight, (norm, direction) in names.items():
        if weight in arrays:
            raise UserError(
                f"{where}: {weight} and its weight norm {norm} are both in the file: save the model again after"
                f" remove_weight_norm()"
            )
        if norm not in arrays:
            raise UserError(f"{where}: {direction} without {norm}: save all arrays of the layer")
        array, note = _weight_norm(arrays, norm, direction, where)
        computed[direction] = weight, array
        norms.add(norm)
        notes.append(f"{weight} computed from its weight norm, {note}")
    return dict(computed.get(name, (name, array)) for name, array in arrays.items() if name not in norms), notes


def _weight_norm(arrays: Arrays, norm: str, direction: str, where: str) -> tuple[np.ndarray, str]:
    """Return g v / |v|, and over which axis the norms were kept."""
    g, v = arrays[norm], arrays[direction]
    check_finite(g, norm, where)
    check_finite(v, direction, where)
    if g.size == 1:  # the kept axis, if any, has length 1
        kept: tuple[int, ...] = ()
    elif g.ndim == v.ndim:
        kept = tuple(axis for axis, size in enumerate(g.shape) if size > 1)
    else:
        kept = tuple(axis for axis, size in enumerate(v.shape) if g.shape == (size,))[:1]
        if not kept:
            raise UserError(f"{where}: got {shown(norm, g)}, which fits no axis of {shown(direction, v)}")
    sizes = tuple(size if axis in kept else 1 for axis, size in enumerate(v.shape))
    if g.size != np.prod(sizes, dtype=int) or len(kept) > 1:
        raise UserError(f"{where}: got {shown(norm, g)}, which fits no axis of {shown(direction, v)}")
    others = tuple(axis for axis in range(v.ndim) if axis not in kept)
    lengths = np.sqrt(np.square(v.astype(np.float64)).sum(axis=others, keepdims=True))
    if not (lengths > 0).all():
        raise UserError(f"{where}: {direction} has a zero vector, so its weight norm is undefined: train the layer")
    weight = (g.astype(np.float64).reshape(sizes) * v / lengths).astype(v.dtype)
    ambiguous = g.ndim == 1 and v.ndim > 1 and sum(size == len(g) for size in v.shape) > 1
    axis = f"along axis {kept[0]}" if kept else "over all axes"
    return weight, axis + (", the usual one: the file does not tell" if ambiguous else "")


def _refuse_others(arrays: Arrays, where: str) -> None:
    for name in arrays:
        stem = name.removesuffix("_orig")
        if match := _RAW.fullmatch(name):
            layer, _, leaf = match[1].rpartition(".")
            raise UserError(
                f"{where}: {name} is the weight of a weight-drop LSTM, and module.{leaf} a stale copy with dropout:"
                f' save it without weight drop: state["{match[1]}"] = state.pop("{name}"), without'
                f" {layer + '.' if layer else ''}module.{leaf}"
            )
        if name.endswith("_orig") and f"{stem}_mask" in arrays:
            raise UserError(f"{where}: {name} is pruned: call prune.remove(layer, name), and save the model again")
        if (name.endswith("_orig") and f"{stem}_u" in arrays) or re.search(r"parametrizations\..*\._[uv]$", name):
            raise UserError(f"{where}: {name} belongs to a spectral norm: {_SPECTRAL}, and save it again")
    for name in arrays:
        if re.search(r"(^|\.)parametrizations\.", name) and not re.search(r"\.original[01]$", name):
            raise UserError(
                f"{where}: {name} belongs to a parametrization: call parametrize.remove_parametrizations(), and save"
                f" the model again"
            )
