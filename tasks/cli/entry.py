"""Run a program: turn errors into one line and an exit code, whatever its streams and arguments are."""

from __future__ import annotations

import atexit
import errno
import io
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from backends import launchers
from core.engine.processes import PeerLost
from core.errors import Note, UserError
from core.strings import middle, shorten
from tasks.cli import streams, terminal
from tasks.cli.streams import OUTPUT, PIPE_CLOSED, OutputLost, Streams
from tasks.cli.terminal import console, errors

INTERRUPTED = 130
"""Exit code of a run stopped by Ctrl-C: 128 + SIGINT, as in the shell."""

ERROR_DELAY = 2.0
"""Seconds before a process of rank > 0 prints its error."""

PATH_ERRORS = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP)
"""System errors about a path that become one line, since no caller checks for them."""

NOT_READ = ("integer string conversion", "decoding a JSON")
"""Texts of Python's errors for JSON that it refuses to read."""

OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "ResourceExhausted", "bad_alloc", "calculation overflowed")
"""Texts of the frameworks' errors if an allocation fails."""

ARGUMENT = 80
"""Maximum number of characters of an argument in an error."""


def run_program(main: Callable[[list[str]], int], argv: list[str]) -> int:
    """Call `main`; a UserError becomes one line on standard error and exit code 2.

    In a distributed run only rank 0 prints progress; every rank prints its own errors.
    """
    rank = launchers.rank()
    console.quiet = rank > 0
    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):
        # A label that the terminal cannot encode must not end a run.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    with streams.guarded(_tell_lost) as current:
        try:
            check_arguments(argv)
            return _call(main, argv, current)
        except UserError as error:
            if rank and not isinstance(error, PeerLost):
                # If rank 0 fails with the same error, the launcher ends this process meanwhile.
                time.sleep(ERROR_DELAY)
            terminal.error(str(error), f"process {rank}: " if rank else "")
            return 2
        except KeyboardInterrupt:
            if not rank:
                errors.print("interrupted")
            return INTERRUPTED
        except OutputLost as lost:
            if lost.by_reader:
                return PIPE_CLOSED
            terminal.error(str(lost))
            return 2
        except UnicodeEncodeError as error:
            if error.reason != "surrogates not allowed":
                raise
            terminal.error(f"{_shown(error.object)} is not UTF-8: rename the file or the folder")
            return 2
        except (MemoryError, RuntimeError, SystemError, ValueError) as error:
            # No caller expects them: data decides on most of the memory, and a JSON file of a run is our own.
            text = str(error)
            if isinstance(error, MemoryError) or any(part in text for part in OUT_OF_MEMORY):
                cause = shorten(text, ARGUMENT) or "MemoryError"
                terminal.error(
                    f"out of memory ({cause}): lower `training.batch_size`, `text.max_length` or the sizes of the model"
                )
                return 2
            if any(part in text for part in NOT_READ):
                terminal.error("a JSON file has a number of thousands of digits, or is nested too deeply: restore it")
                return 2
            raise
        except OSError as error:
            if error.errno not in PATH_ERRORS or error.filename is None:
                raise
            terminal.error(f"{middle(str(error.filename), 4 * ARGUMENT)}: {error.strerror}")
            return 2


def _call(main: Callable[[list[str]], int], argv: list[str], current: Streams) -> int:
    try:
        code = main(argv)
    except SystemExit:  # of --help
        current.flush()
        raise
    current.flush()
    return code


def check_arguments(argv: list[str]) -> None:
    """Raise UserError for an argument that is not UTF-8: JSON and reports cannot hold it."""
    for number, argument in enumerate(argv, start=1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UserError(
                f"argument {number}, {_shown(argument)}, is not UTF-8: rename the file, or convert the text"
            ) from None


def _shown(text: str) -> str:
    """Return text with surrogates as its escaped bytes."""
    return middle(repr(text.encode(errors="surrogateescape"))[1:], ARGUMENT)


def launch(main: Callable[[list[str]], int]) -> NoReturn:
    """Run `main` with the arguments of the command line, and end this process with its exit code.

    The interpreter's own end clears every module first, which takes seconds after PyTorch or PaddlePaddle. What counts
    of it is done here: threads are waited for, exit functions run, and output is flushed.
    """
    streams.open_missing()
    code = run_program(main, sys.argv[1:])
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):  # its reader has gone
                stream.flush()
    os._exit(code)


def _tell_lost(name: str, text: str) -> None:
    terminal.note(text, on=errors if name == OUTPUT else console)


def _show_warning(message: Warning | str, category: type[Warning], *_) -> None:
    if issubclass(category, Note):
        terminal.note(str(message))
    else:
        terminal.warning(str(message))
