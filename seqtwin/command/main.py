"""Start the program that the first argument names.

Help and versions are printed without importing NumPy, a framework or a program.
"""

from __future__ import annotations

import difflib
import os
import sys

from seqtwin.command.programs import PROGRAMS, RUN_COMMANDS, help_text, load

HELP = ("-h", "--help", "help")
VERSION = ("-V", "--version")
COMPLETION = "--print-completion"
PIPE_CLOSED = 141
"""Exit code if the reader of standard output has gone, as in the programs."""


def start() -> int:
    """Run the command with the arguments of the command line. Return the exit code; most programs end the process."""
    argv = sys.argv[1:]
    if not argv or argv[0] in HELP:
        return _print(help_text())
    if argv[0] in VERSION:
        from seqtwin.command.versions import versions_text

        return _print(versions_text())
    from seqtwin.command.own_packages import import_own

    import_own()
    from tasks.cli.commands import started_by_seqtwin
    from tasks.cli.entry import launch

    with started_by_seqtwin():
        return launch(main)


def main(argv: list[str]) -> int:
    """Run the command that the first argument names with the others. Return the exit code.

    Raises UserError for an unknown command.
    """
    name, rest = argv[0], argv[1:]
    if name == COMPLETION:
        from seqtwin.command.completion import print_completion

        return print_completion(rest)
    if name in RUN_COMMANDS:
        from seqtwin.command.run_commands import perform

        return perform(name, rest)
    if name not in PROGRAMS:
        raise _unknown(name)
    return load(name).main(rest)


def _unknown(name: str) -> Exception:
    from core.errors import UserError
    from core.strings import shorten

    known = [*PROGRAMS, *RUN_COMMANDS]
    near = difflib.get_close_matches(name.replace("-", "_").lower(), known, n=1)
    fix = f"use {near[0]}" if near else "see seqtwin --help"
    return UserError(f"unknown command {shorten(name, 80)!r}: {fix}")


def _print(text: str) -> int:
    """Write text to standard output. Return the exit code."""
    if sys.stdout is None:
        print("error: standard output: cannot be written (it is closed): redirect it elsewhere", file=sys.stderr)
        return 2
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # Python flushes the stream again at its end, which would print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return PIPE_CLOSED
        print(f"error: standard output: cannot be written ({error.strerror}): redirect it elsewhere", file=sys.stderr)
        return 2
    return 0
