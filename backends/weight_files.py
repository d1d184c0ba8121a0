"""Reader and writer modules of each kind of weight file.

Every reader has `LINEAR_LAYOUT` and `read_state(path, entry)` and needs no framework; every writer has
`write_state(path, arrays)`, as specified in `core/engine/contract.py`.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import backends
from core.errors import UserError
from core.weights import npz_files, paddle_files, pickle_files, safetensors_files, torch_files
from core.weights.file_kinds import kind_of_content

SUFFIXES = {"paddle": (".pdparams",), "torch": (".pt", ".pth", ".bin"), "safetensors": (".safetensors",)}
"""Suffixes of each kind of file; the first one is written."""

NEUTRAL = "safetensors"
"""The kind that always has seqtwin's neutral names and layout."""

_READERS = {
    "paddle": paddle_files,
    "torch": torch_files,
    "safetensors": safetensors_files,
    "npz": npz_files,
    "pickle": pickle_files,
}
"""Readers, which need no framework."""

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


def kind_of_source(path: str | Path) -> str:
    """Return the kind of a file to read: by its content, else by its suffix, else a plain pickle.

    Raises UserError for a file that holds no state dict.
    """
    found = kind_of_content(path)
    if found is not None:
        return found
    suffix = Path(path).suffix.lower()
    return next((kind for kind, suffixes in SUFFIXES.items() if suffix in suffixes), "pickle")


def reader(kind: str) -> ModuleType:
    """Return the reader of a kind."""
    return _READERS[kind]


def writer(kind: str) -> ModuleType:
    """Return the writer of a kind. Raises UserError if a required framework is not installed."""
    return safetensors_files if kind == NEUTRAL else backends.load(kind)
