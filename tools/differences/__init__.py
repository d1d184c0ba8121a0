"""Declaration of measurements. Imports no framework, so that the page can be written without any.

A measurement is a function without arguments that returns figures by name. Its decorator holds the text for the page,
with the figures as `{name}` fields, and a `claim`: a predicate that tests the text's statement on the figures. If a
claim fails, the page is not written (`tools/differences/__main__.py`, `tests/tools/test_differences.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Figures = dict[str, object]

REGISTRY: dict[str, Measurement] = {}
"""Measurements by id, which is the function's name, in page order."""

AGREEMENTS = "Agreements"


@dataclass(frozen=True)
class Measurement:
    """An entry of the page."""

    id: str
    section: str
    title: str
    measure: Callable[[], Figures]
    effect: str
    """The result of the measurement, text or table with fields."""
    claim: Callable[[Figures], bool]
    torch: str = ""
    paddle: str = ""
    ours: str = ""
    """What seqtwin does instead, with the source file."""
    size: str = ""
    """The effect in a few words, for the overview at the top."""
    older: str = ""
    """Text for Paddle 2.6, with fields, if `effect` and `claim` do not apply to it."""
    slow: bool = False
    """Whether it takes seconds or measures time: the tests skip it."""


def difference(section: str, title: str, **texts):
    """Register a measurement of a difference."""

    def register(function):
        name = function.__name__
        REGISTRY[name] = Measurement(id=name, section=section, title=title, measure=function, **texts)
        return function

    return register


def agreement(title: str, limit: float = 1e-12, **texts):
    """Register a measurement of an agreement: its figure is a largest difference, at most `limit`."""
    return difference(AGREEMENTS, title, effect="{largest:e}", claim=lambda f: f["largest"] <= limit, **texts)
