"""The lock of a run folder: one process at a time writes to it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from core.errors import UserError
from core.files import lock
from core.strings import shorten

LOCK = ".lock"
"""File that a process locks while it trains, with its name. A killed process leaves it, without the lock."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock a run folder while the block runs. The lock ends with its process, however that ends.

    Raises UserError if another process holds it, or if the folder is not writable.
    """
    path = folder / LOCK
    try:
        with _locked(path, folder) as file:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            try:
                yield
            finally:
                path.unlink(missing_ok=True)  # while it is still locked
    except OSError as error:
        if error.filename != str(path):
            raise
        raise UserError(f"{path}: cannot be written ({error.strerror}): check the folder's permissions") from None


def is_held(folder: Path) -> bool:
    """Return whether a process trains in a run folder; False on a file system without locks.

    It tries the lock of a file that a killed process left, and gives it back at once.
    """
    try:
        with (folder / LOCK).open("rb") as file:
            return not lock(file)
    except OSError:  # no such file, or not ours to open
        return False


def _locked(path: Path, folder: Path) -> TextIO:
    while True:
        file = path.open("a+", encoding="utf-8")
        if not lock(file):
            with file:
                file.seek(0)
                holder = shorten(file.read(200)) or "another process"
            raise UserError(f"{folder}: in use by {holder}: wait until it ends, or stop it first")
        # The holder before may have removed this file after it was opened here.
        if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
            return file
        file.close()
