"""Reader and writer modules of each kind of weight file.

Every module has `LINEAR_LAYOUT`, `read_state(path, entry)` and `write_state(path, arrays)`, as specified in
`core/engine/contract.py`; `core/weights/paddle_files.py` only reads. Paddle's files are read without Paddle.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import backends
from core.errors import UserError
from core.weights import paddle_files, safetensors_files

SUFFIXES = {"paddle": (".pdparams",), "torch": (".pt", ".pth", ".bin"), "safetensors": (".safetensors",)}
"""Suffixes of each kind of file; the first one is written."""

NEUTRAL = "safetensors"
"""The kind that always has seqtwin's neutral names and layout."""

_NO_FRAMEWORK = {"paddle": paddle_files, "safetensors": safetensors_files}
"""Readers that need no framework."""

LOADING = {
    "paddle": 'layer.set_state_dict(paddle.load("{path}"))',
    "torch": 'module.load_state_dict(torch.load("{path}"))',
    "safetensors": 'safetensors.numpy.load_file("{path}")',
}
"""Code that loads each kind of file."""


def kind_of(path: str | Path) -> str:
    """Return the kind of a file by its suffix. Raises UserError for an unknown suffix."""
    for kind, suffixes in SUFFIXES.items():
        if Path(path).suffix.lower() in suffixes:
            return kind
    known = ", ".join(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
    raise UserError(f"{path}: unknown suffix: use one of {known}")


def reader(kind: str) -> ModuleType:
    """Return the reader of a kind. Raises UserError if a required framework is not installed."""
    return _NO_FRAMEWORK[kind] if kind in _NO_FRAMEWORK else backends.load(kind)


def writer(kind: str) -> ModuleType:
    """Return the writer of a kind. Raises UserError if a required framework is not installed."""
    return safetensors_files if kind == NEUTRAL else backends.load(kind)
