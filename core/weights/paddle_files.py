"""Paddle's `.pdparams` files, read without Paddle, and the second names that its recurrent layers go by.

A `.pdparams` file is a pickle: a dict of NumPy arrays (what `paddle.save` writes of a state dict), or of
(name, array) pairs where the dict was nested in another. Beside them lie `StructuredToParameterName@@`, a table of the
tensors' internal names, and, for arrays of 2**30 bytes and more under protocols 2 and 3, `UnpackBigParamInfor@@`,
which says what flat pieces an array was cut into. bfloat16 is stored as uint16. `paddle.nn.Linear` keeps [in, out].

A `paddle.nn.LSTM` lists every array twice: as `weight_ih_l0` and as `0.cell.weight_ih` (`0.cell_fw`, `0.cell_bw` in
both directions), and `set_state_dict` reports as missing what is not there under both.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.weights.safe_pickle import PickledArray, load
from core.weights.state_dict import StateDict, gather, read_bytes

LINEAR_LAYOUT = "in_out"
_NAME_TABLE = "StructuredToParameterName@@"
_PIECES = "UnpackBigParamInfor@@"
_KINDS = "weight_ih|weight_hh|bias_ih|bias_hh"
_LAYER_NAME = re.compile(rf"(?:(.+)\.)?({_KINDS})_l(\d+)(_reverse)?")
_CELL_NAME = re.compile(rf"(?:(.+?)\.)?(?:(\d+)\.)?cell(_fw|_bw)?\.({_KINDS})")


def read_state(path: str | Path, entry: str | None = None) -> StateDict:
    """The state dict of a `.pdparams` file; no code in the file is run. Raises UserError
    (`core/weights/safe_pickle.py`)."""
    where = str(path)
    tree = load(read_bytes(path), where)
    if isinstance(tree, dict):
        tree.pop(_NAME_TABLE, None)
        _join_pieces(tree, where)
    return gather(tree, where, _as_array, entry)


def _as_array(leaf: object) -> np.ndarray | None:
    if isinstance(leaf, tuple) and len(leaf) == 2 and isinstance(leaf[0], str):
        leaf = leaf[1]
    if isinstance(leaf, np.ndarray):
        return leaf
    return leaf.array() if isinstance(leaf, PickledArray) and leaf.data is not None else None


def _join_pieces(tree: dict, where: str) -> None:
    """Put arrays together again that `paddle.save` cut into pieces, in place."""
    table = tree.pop(_PIECES, {})
    try:
        for name, row in table.items():
            pieces = [_as_array(tree.pop(piece)) for piece in row["slices"]]
            tree[name] = np.concatenate(pieces).reshape(row["OriginShape"])
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError(f"{where}: damaged: an array that was saved in pieces cannot be put together") from None


def layer_name(name: str) -> str | None:
    """The name of a recurrent array as the layer calls it; None for any other name.

    `lstm.weight_ih_l0_reverse` for itself and for `lstm.0.cell_bw.weight_ih`. A cell without a number, as in
    `paddle.nn.RNN(cell)`, is layer 0.
    """
    if _LAYER_NAME.fullmatch(name):
        return name
    match = _CELL_NAME.fullmatch(name)
    if match is None:
        return None
    prefix, layer, side, kind = match.groups()
    if prefix is None and layer is None:  # a bare `cell.weight_ih` is a cell in a loop of its author's
        return None
    return f"{prefix + '.' if prefix else ''}{kind}_l{int(layer or 0)}{'_reverse' if side == '_bw' else ''}"


def with_cell_names(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`arrays` and, after them, every recurrent array once more under its cell's name."""
    found = {name: match.groups() for name in arrays if (match := _LAYER_NAME.fullmatch(name))}
    both = {prefix for prefix, _, _, reverse in found.values() if reverse}
    second = {}
    for name, (prefix, kind, layer, reverse) in found.items():
        side = "cell" if prefix not in both else "cell_bw" if reverse else "cell_fw"
        second[f"{prefix + '.' if prefix else ''}{int(layer)}.{side}.{kind}"] = arrays[name]
    return {**arrays, **second}
