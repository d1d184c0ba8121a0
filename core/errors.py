"""The one exception that a program turns into a single line and exit code 2.

A message names the field of the spec, or the argument, to change in backticks: "lower `training.clip_norm`". A program
shows its own option in that place (`tasks/cli/flags.py`).
"""


class UserError(Exception):
    """Something the user can mend: the message says what was wrong, where, and what to do, in one line."""


class Note(UserWarning):
    """Something that a user should know and that is no mistake: one line, given by `warnings.warn`."""
