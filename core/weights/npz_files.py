"""Reader of `.npz` files with the arrays of a state dict, one per name, linear weights [out, in]."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.weights.state_dict import StateDict, gather, read_bytes

LINEAR_LAYOUT = "out_in"


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
    return gather(tree, where, lambda leaf: leaf if isinstance(leaf, np.ndarray) else None, entry)
