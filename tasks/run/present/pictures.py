"""Draw pictures of a run, which must not cost its result."""

from __future__ import annotations

from collections.abc import Callable

from core.errors import UserError
from core.strings import shorten
from tasks.cli.terminal import note

LINE = 90
"""Maximum characters of a text in a line."""


def draw_or_note(name: str, draw: Callable[[], None]) -> None:
    """Draw a picture; if that fails, print a note: a picture must not cost the result of a run."""
    try:
        draw()
    except UserError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {shorten(str(error), LINE)}"
        note(f"{name} was not drawn ({reason})")
