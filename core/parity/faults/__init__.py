"""Faults to plant in one side on purpose, so that the ladder is seen to fail: each a mistake that real ports make.

A fault replaces a few names in a backend package while it is planted. The two backends mirror each other name by name
(`tests/test_architecture.py`), and what is replaced is wrapped, not rewritten, so each fault is written once, in
operations that both frameworks' tensors have, and can be planted in either. Each family has a file of its own.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import ModuleType

from core.errors import UserError
from core.parity.faults import common, recurrent, textcnn
from core.parity.faults.fault import Fault, patched

FAULTS = {**recurrent.FAULTS, **common.FAULTS, **textcnn.FAULTS}
"""Every fault that can be planted, by name."""


def planted(side: ModuleType, name: str) -> AbstractContextManager[None]:
    """The fault is in the backend package `side` as long as this lasts; engines must be made and used within."""
    return patched(fault(name).plant(side))


def fault(name: str) -> Fault:
    """The catalogue's entry. Raises UserError for an unknown name."""
    if name not in FAULTS:
        raise UserError(f"unknown fault {name!r}: choose one of {', '.join(FAULTS)}")
    return FAULTS[name]
