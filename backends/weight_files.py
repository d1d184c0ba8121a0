"""Which module reads and writes which kind of file that holds weights, and what must be installed for it.

Every such module has `LINEAR_LAYOUT`, `read_state(path, entry)` and `write_state(path, arrays)`, as
`core/engine/contract.py` describes them; `core/weights/paddle_files.py` only reads. Paddle's files are read without
Paddle.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import backends
from core.errors import UserError
from core.weights import paddle_files, safetensors_files

SUFFIXES = {"paddle": (".pdparams",), "torch": (".pt", ".pth", ".bin"), "safetensors": (".safetensors",)}
"""Of the files of each kind; the first is the one that is written."""

NEUTRAL = "safetensors"
"""The kind that always has seqtwin's own names and layout."""

_NO_FRAMEWORK = {"paddle": paddle_files, "safetensors": safetensors_files}
"""Kinds whose files are read with no framework."""

LOADING = {
    "paddle": 'layer.set_state_dict(paddle.load("{path}"))',
    "torch": 'module.load_state_dict(torch.load("{path}"))',
    "safetensors": 'safetensors.numpy.load_file("{path}")',
}
"""How each kind of file is loaded."""


def kind_of(path: str | Path) -> str:
    """The kind of a file, by its suffix. Raises UserError if it is none of them."""
    for kind, suffixes in SUFFIXES.items():
        if Path(path).suffix.lower() in suffixes:
            return kind
    known = ", ".join(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
    raise UserError(f"{path}: the end of the name must say what kind of file it is: {known}")


def reader(kind: str) -> ModuleType:
    """What reads files of a kind. Raises UserError if its framework is needed and not installed."""
    return _NO_FRAMEWORK[kind] if kind in _NO_FRAMEWORK else backends.load(kind)


def writer(kind: str) -> ModuleType:
    """What writes, and reads, files of a kind. Raises UserError if its framework is needed and not installed."""
    return safetensors_files if kind == NEUTRAL else backends.load(kind)
