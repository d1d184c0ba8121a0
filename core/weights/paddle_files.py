"""Reader of Paddle's `.pdparams` files without Paddle, and second names of recurrent arrays.

A `.pdparams` file is a pickle: a dict of NumPy arrays (`paddle.save` of a state dict), or of (name, array) pairs if the
dict was nested in another one. It also contains `StructuredToParameterName@@`, a table of internal tensor names, and,
for arrays of at least 2**30 bytes under protocols 2 and 3, `UnpackBigParamInfor@@`, which describes the pieces of a
divided array. bfloat16 is stored as uint16. `paddle.nn.Linear` stores [in, out].

A `paddle.nn.LSTM` lists every array twice, as `weight_ih_l0` and as `0.cell.weight_ih` (bidirectional: `0.cell_fw`,
`0.cell_bw`). `set_state_dict` reports an array as missing unless both names exist.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.weights.budget import Budget
from core.weights.pickled_arrays import PickledArray, damaged
from core.weights.safe_pickle import load
from core.weights.state_dict import StateDict, gather, read_bytes

LINEAR_LAYOUT = "in_out"
_NAME_TABLE = "StructuredToParameterName@@"
_PIECES = "UnpackBigParamInfor@@"
_KINDS = "weight_ih|weight_hh|bias_ih|bias_hh"
_LAYER_NAME = re.compile(rf"(?:(.+)\.)?({_KINDS})_l(\d+)(_reverse)?")
_BARE_NAME = re.compile(rf"(?:(.+)\.)?({_KINDS})")
_CELL_NAME = re.compile(rf"(?:(.+?)\.)?(?:(\d+)\.)?cell(_fw|_bw)?\.({_KINDS})")


def read_state(path: str | Path, entry: str | None = None) -> StateDict:
    """Read the state dict of a `.pdparams` file without running code of the file.

    Raises UserError (`core/weights/safe_pickle.py`).
    """
    data = read_bytes(path)
    budget = Budget(str(path), len(data))
    tree = load(data, budget)
    try:
        if isinstance(tree, dict):
            tree.pop(_NAME_TABLE, None)
            _join_pieces(tree, budget)
        return gather(tree, budget, _as_array, entry)
    except UserError:
        raise
    except Exception as error:  # inconsistent arrays can raise any exception
        raise damaged(budget.where, "a pickle of arrays", error, data) from None


def _as_array(leaf: object) -> np.ndarray | None:
    if isinstance(leaf, tuple) and len(leaf) == 2 and isinstance(leaf[0], str):
        leaf = leaf[1]
    if isinstance(leaf, np.ndarray):
        return leaf
    return leaf.array() if isinstance(leaf, PickledArray) and leaf.data is not None else None


def _join_pieces(tree: dict, budget: Budget) -> None:
    """Join, in place, the arrays that `paddle.save` divided into pieces."""
    table = tree.pop(_PIECES, {})
    try:
        for name, row in table.items():
            names, shape = row["slices"], row["OriginShape"]
            # A deeply nested tuple as a name or as a length would exhaust the stack.
            if not all(isinstance(piece, str) for piece in names) or not all(isinstance(axis, int) for axis in shape):
                raise ValueError(name)
            pieces = [_as_array(tree.pop(piece)) for piece in names]
            arrays = [piece for piece in pieces if piece is not None]
            if len(arrays) < len(pieces):
                raise ValueError(name)
            budget.create(sum(array.nbytes for array in arrays))
            tree[name] = np.concatenate(arrays).reshape(shape)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        raise UserError(
            f"{budget.where}: damaged, an array saved in pieces cannot be joined: copy or save the file again"
        ) from None


def layer_name(name: str) -> str | None:
    """Return the layer's name of a recurrent array, None for any other name.

    The result is `lstm.weight_ih_l0_reverse` for that name itself and for `lstm.0.cell_bw.weight_ih`. A cell without a
    number, as in `paddle.nn.RNN(cell)` or a `torch.nn.LSTMCell` in a loop of the user, is layer 0.
    """
    if _LAYER_NAME.fullmatch(name):
        return name
    match = _CELL_NAME.fullmatch(name)
    if match is not None and (match[1] is not None or match[2] is not None):
        prefix, layer, side, kind = match.groups()
        return f"{prefix + '.' if prefix else ''}{kind}_l{int(layer or 0)}{'_reverse' if side == '_bw' else ''}"
    return f"{name}_l0" if _BARE_NAME.fullmatch(name) else None


def is_cell_name(name: str) -> bool:
    """Return whether it is the name of an array of a single cell, such as `cell.weight_ih`."""
    return _BARE_NAME.fullmatch(name) is not None and layer_name(name) == f"{name}_l0"


def with_cell_names(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return `arrays`, followed by every recurrent array under its second name."""
    found = {name: match.groups() for name in arrays if (match := _LAYER_NAME.fullmatch(name))}
    both = {prefix for prefix, _, _, reverse in found.values() if reverse}
    second = {}
    for name, (prefix, kind, layer, reverse) in found.items():
        side = "cell" if prefix not in both else "cell_bw" if reverse else "cell_fw"
        second[f"{prefix + '.' if prefix else ''}{int(layer)}.{side}.{kind}"] = arrays[name]
    return {**arrays, **second}
