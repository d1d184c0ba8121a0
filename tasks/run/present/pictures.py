"""Draw pictures of a run, which must not cost its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from core.errors import UserError
from core.strings import shorten
from tasks.cli.terminal import note

LINE = 90
"""Maximum characters of a text in a line."""


_drawn: ContextVar[bool] = ContextVar("drawn", default=True)


@contextmanager
def pictures(drawn: bool) -> Iterator[None]:
    """Draw no picture while the block runs, unless `drawn`, in this thread alone."""
    token = _drawn.set(drawn)
    try:
        yield
    finally:
        _drawn.reset(token)


def draw_or_note(name: str, draw: Callable[[], None]) -> None:
    """Draw a picture; if that fails, print a note: a picture must not cost the result of a run."""
    if not _drawn.get():
        return
    try:
        draw()
    except UserError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {shorten(str(error), LINE)}"
        note(f"{name} was not drawn ({reason})")
