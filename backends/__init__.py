"""The frameworks that can run a spec. This is the only place that knows their names."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from core.errors import UserError

_REQUIREMENTS = {"paddle": "paddlepaddle", "torch": "torch"}
"""What to install for each backend whose package is named like the module it imports."""


NAMES = tuple(_REQUIREMENTS)


def load(name: str) -> ModuleType:
    """The backend package `name`, importing its framework now. Raises UserError if unknown or not installed."""
    if name not in _REQUIREMENTS:
        raise UserError(f"unknown backend {name!r}: choose one of {', '.join(NAMES)}")
    if not installed(name):
        raise UserError(f"backend {name}: its framework is not installed; run: {how_to_install(name)}")
    return importlib.import_module(f"backends.{name}")


def how_to_install(name: str) -> str:
    """What to type for the framework of a backend."""
    return f"pip install {_REQUIREMENTS[name]}"


def installed(name: str) -> bool:
    """Whether the framework of a backend can be imported; it is not imported to find out."""
    return importlib.util.find_spec(name) is not None


def first_installed() -> str:
    """The backend to use where none is named. Raises UserError if there is none at all."""
    for name in NAMES:
        if installed(name):
            return name
    raise UserError("no framework is installed; run: pip install " + " or: pip install ".join(_REQUIREMENTS.values()))
