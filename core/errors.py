"""Exceptions and warnings that are shown to the user as one line.

A message names the spec field or argument to change in backticks: "lower `training.clip_norm`". Programs replace it by
the command-line flag (`tasks/cli/flags.py`).
"""

import warnings
from collections.abc import Hashable


class UserError(Exception):
    """An error caused by user input: one line that names the problem, its location and the fix.

    Programs print it and exit with code 2; a notebook shows it without a traceback.
    """

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows."""
        return [f"{type(self).__name__}: {self}"]


class Note(UserWarning):
    """A one-line notice that is not an error, issued by `warnings.warn`."""


_noted: set[Hashable] = set()


def note_once(text: str, about: Hashable) -> None:
    """Issue a Note, once per program for what it is `about`: training reads a file several times.

    Python's own record of warnings is lost when a framework is imported.
    """
    if about not in _noted:
        _noted.add(about)
        warnings.warn(Note(text), stacklevel=2)


def forget_notes() -> None:
    """Issue notes again: a new program starts."""
    _noted.clear()
