"""Exceptions and warnings that are shown to the user as one line.

A message names the spec field or argument to change in backticks: "lower `training.clip_norm`". Programs replace it by
the command-line flag (`tasks/cli/flags.py`).
"""


class UserError(Exception):
    """An error caused by user input: one line that names the problem, its location and the fix.

    Programs print it and exit with code 2.
    """


class Note(UserWarning):
    """A one-line notice that is not an error, issued by `warnings.warn`."""
