"""Registry of backends; the only module that maps backend names to packages."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from core.errors import UserError

_REQUIREMENTS = {"paddle": "paddlepaddle", "torch": "torch"}
"""PyPI package of each backend; a backend has the name of the module that it imports."""


NAMES = tuple(_REQUIREMENTS)


def load(name: str) -> ModuleType:
    """Import the backend package `name` and its framework.

    Raises UserError if it is unknown or not installed.
    """
    if name not in _REQUIREMENTS:
        raise UserError(f"unknown backend {name!r}: choose one of {', '.join(NAMES)}")
    if not installed(name):
        raise UserError(f"backend {name}: its framework is not installed; run: {how_to_install(name)}")
    return importlib.import_module(f"backends.{name}")


def how_to_install(name: str) -> str:
    """Return the command that installs the framework of a backend."""
    return f"pip install {_REQUIREMENTS[name]}"


def installed(name: str) -> bool:
    """Return whether the framework of a backend is installed, without importing it."""
    return importlib.util.find_spec(name) is not None


def first_installed() -> str:
    """Return the default backend. Raises UserError if no framework is installed."""
    for name in NAMES:
        if installed(name):
            return name
    raise UserError("no framework is installed; run: pip install " + " or: pip install ".join(_REQUIREMENTS.values()))
