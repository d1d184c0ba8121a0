"""Optional packages of the export, imported when they are needed."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from core.errors import UserError

INSTALL = "pip install -e '.[onnx]'"
"""Command that installs the packages for ONNX."""


def load(name: str) -> ModuleType:
    """Import a package of the extra `onnx`. Raises UserError with the pip command if it is not installed."""
    if importlib.util.find_spec(name) is None:
        raise UserError(f"the package {name} is not installed; run: {INSTALL}")
    return importlib.import_module(name)
