"""Reader of `.npz` files with the arrays of a state dict, one per name, linear weights [out, in]."""

from __future__ import annotations

import dataclasses
import io
import re
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.weights.state_dict import StateDict, gather, read_bytes

LINEAR_LAYOUT = "out_in"
_FLAT = (
    (re.compile(r"(.+)_w_(ih|hh)"), r"\1.weight_\2"),
    (re.compile(r"(.+)_b_(ih|hh)"), r"\1.bias_\2"),
    (re.compile(r"(.*emb)"), r"\1.weight"),
    (re.compile(r"(.+)_w"), r"\1.weight"),
    (re.compile(r"(.+)_b"), r"\1.bias"),
)
"""Flat names of arrays, as `enc_w_ih` of g2p-en, and the names of layers that they mean."""


def read_state(path: str | Path, entry: str | None = None) -> StateDict:
    """Read a state dict. Raises UserError for a damaged file and for arrays of objects."""
    where = str(path)
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as file:
            tree = {name: file[name] for name in file.files}
    except UserError:
        raise
    except Exception as error:  # a damaged file can raise any exception
        reason = " ".join(str(error).split())[:80] or type(error).__name__
        raise UserError(f"{where}: damaged, or not an .npz file ({reason}): save it with numpy.savez") from None
    renamed = {_layer_name(name): array for name, array in tree.items()}
    flat = not any("." in name for name in tree) and any(name.endswith("_w_hh") for name in tree)
    flat = flat and len(renamed) == len(tree)
    if flat:
        tree = renamed
    state = gather(tree, where, lambda leaf: leaf if isinstance(leaf, np.ndarray) else None, entry)
    if not flat:
        return state
    return dataclasses.replace(state, notes=(*state.notes, "names such as enc_w_ih read as enc.weight_ih"))


def _layer_name(name: str) -> str:
    """Return the name of an array in a layer, or the name itself."""
    for pattern, meant in _FLAT:
        if match := pattern.fullmatch(name):
            return match.expand(meant)
    return name
