"""Exceptions that a model raises while it runs, marked with the run, for programs that show them in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import UserError

MARK = "seqtwin_run"
"""Attribute of a marked exception: the run that failed, and the fix."""
NAMED = re.compile(r"^\s*\(?\w*(?:Error|Exception|InvalidArgument)\b.*", re.MULTILINE)
MOST = 300
"""Longest text of an exception that is shown, in characters."""


@contextmanager
def marked(run: str, fix: str) -> Iterator[None]:
    """Mark exceptions with the run that they end, such as `mine.py:Model: forward failed in float64`, and a fix."""
    try:
        yield
    except Exception as error:  # a model can raise any exception
        if not hasattr(error, MARK):
            setattr(error, MARK, (run, fix))
        raise


def in_one_line(error: Exception) -> UserError | None:
    """Return a marked exception as an error in one line, None if it is not marked or is such an error already."""
    run, fix = getattr(error, MARK, ("", ""))
    return UserError(f"{run}: {reason(error)}: {fix}") if run and not isinstance(error, UserError) else None


def reason(error: Exception) -> str:
    """Return the line of an exception that tells most: the last that names an error, else its class and first line."""
    text = str(error)
    named = NAMED.findall(text)[-1:]
    line = " ".join((named or [own for own in text.splitlines() if own.strip()] or [""])[0].split())
    return (line if named else f"{type(error).__name__}: {line}")[:MOST].rstrip(" .:")
