"""What the measurements share: how one is declared. Imports no framework, so that the page can be drawn without any.

A measurement is a function without arguments that returns figures by name. The decorator puts the text of the page
beside it, with the figures as `{name}` fields, and a `claim`: what the text says, as a test of the figures. A page
whose claims no longer hold is refused (`tools/differences/__main__.py`, `tests/tools/test_differences.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Figures = dict[str, object]

REGISTRY: dict[str, Measurement] = {}
"""Every measurement by its id, the function's name, in the order of the page."""

AGREEMENTS = "Where they agree"


@dataclass(frozen=True)
class Measurement:
    """One entry of the page."""

    id: str
    section: str
    title: str
    measure: Callable[[], Figures]
    effect: str
    """What was measured, in a sentence or a table with fields."""
    claim: Callable[[Figures], bool]
    torch: str = ""
    paddle: str = ""
    ours: str = ""
    """What seqtwin's spec says instead, and the file that sees to it."""
    size: str = ""
    """The effect in a few words, for the overview at the top."""
    older: str = ""
    """What Paddle 2.6 does, with fields, where `effect` and `claim` do not fit it."""
    slow: bool = False
    """Takes seconds, or measures time: the tests leave it out."""


def difference(section: str, title: str, **texts):
    """Register a measurement of something that differs."""

    def register(function):
        name = function.__name__
        REGISTRY[name] = Measurement(id=name, section=section, title=title, measure=function, **texts)
        return function

    return register


def agreement(title: str, limit: float = 1e-12, **texts):
    """Register a measurement of something that does not: its figure is a largest difference, at most `limit`."""
    return difference(AGREEMENTS, title, effect="{largest:e}", claim=lambda f: f["largest"] <= limit, **texts)
