"""Import a framework, with a message: PyTorch and PaddlePaddle take seconds to import."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from types import ModuleType

import backends
from tasks.cli.console import console, errors


def load_backend(name: str) -> ModuleType:
    """Return the backend package `name`, and show on standard error that its framework is being imported.

    Raises UserError if it is unknown or not installed.
    """
    text = f"importing {name}"
    shown = f"backends.{name}" not in sys.modules and backends.installed(name) and not console.quiet
    if shown and not errors.is_terminal:
        errors.print(text)
    with errors.status(text) if shown and errors.is_terminal else nullcontext():
        return backends.load(name)
