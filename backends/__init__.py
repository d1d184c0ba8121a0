"""The frameworks that can run a spec. This is the only place that knows their names."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from backends import kernels
from core.errors import UserError

_REQUIREMENTS = {"paddle": "paddlepaddle", "torch": "torch"}
"""What to install for each backend whose package is named like the module it imports."""

NAMES = tuple(_REQUIREMENTS)


def load(name: str) -> ModuleType:
    """The backend package `name`, importing its framework now. Raises UserError if unknown or not installed."""
    if name not in _REQUIREMENTS:
        raise UserError(f"unknown backend {name!r}: choose one of {', '.join(NAMES)}")
    if not installed(name):
        raise UserError(f"backend {name}: its framework is not installed; run: pip install {_REQUIREMENTS[name]}")
    return importlib.import_module(f"backends.{name}")


def installed(name: str) -> bool:
    """Whether the framework of a backend can be imported; it is not imported to find out."""
    return importlib.util.find_spec(name) is not None


def first_installed() -> str:
    """The backend to use where none is named. Raises UserError if there is none at all."""
    for name in NAMES:
        if installed(name):
            return name
    raise UserError("no framework is installed; run: pip install " + " or: pip install ".join(_REQUIREMENTS.values()))


IMPLEMENTATIONS = ("builtin", "loop", "fast")
"""Of the recurrent layers, in every backend (`backends/*/recurrent.py`): the framework's, the textbook's, ours."""


def resolve_implementation(request: str, device: str) -> str:
    """`auto` or one of `IMPLEMENTATIONS` to the one that will run on this device: `auto` is `fast` where it can be.

    Raises UserError if `fast` is asked for and cannot run.
    """
    obstacle = no_fast(device)
    if request == "auto":
        return "builtin" if obstacle else "fast"
    if request == "fast" and obstacle:
        raise UserError(f"--impl fast: {obstacle}; use --impl builtin")
    if request not in IMPLEMENTATIONS:
        raise UserError(f"unknown implementation {request!r}: choose one of auto, {', '.join(IMPLEMENTATIONS)}")
    return request


def no_fast(device: str) -> str | None:
    """Why our own recurrent layers cannot run on this device; None if they can."""
    return "our own recurrent layers are for the CPU" if device != "cpu" else kernels.failure()


def implementation_version(implementation: str) -> dict[str, str]:
    """For a run's record: the build of our layers that runs on this machine, where they run."""
    return {"kernels": kernels.target()} if implementation == "fast" else {}
