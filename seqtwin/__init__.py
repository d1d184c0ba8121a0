"""Sequence models specified once, implemented in PaddlePaddle and PyTorch, verified equal.

Names are imported when they are first used, so that the command prints its help without NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.errors import UserError as UserError
    from seqtwin.api.classifier import TextClassifier as TextClassifier
    from seqtwin.api.comparison import Comparison as Comparison
    from seqtwin.api.comparison import compare as compare
    from seqtwin.api.explanation import Explanation as Explanation
    from seqtwin.api.gates import Gates as Gates
    from seqtwin.api.run import Run as Run
    from seqtwin.api.run import load as load
    from seqtwin.api.training import train as train

PUBLIC = {
    "TextClassifier": "seqtwin.api.classifier",
    "train": "seqtwin.api.training",
    "load": "seqtwin.api.run",
    "compare": "seqtwin.api.comparison",
    "Run": "seqtwin.api.run",
    "Explanation": "seqtwin.api.explanation",
    "Gates": "seqtwin.api.gates",
    "Comparison": "seqtwin.api.comparison",
    "UserError": "core.errors",
}
"""Module of each public name, in the order of docs/python-api.md."""


def __getattr__(name: str) -> object:
    if name not in PUBLIC:
        raise AttributeError(f"module 'seqtwin' has no attribute {name!r}")
    from seqtwin.command.own_packages import import_own

    import_own()
    found = getattr(import_module(PUBLIC[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC})
