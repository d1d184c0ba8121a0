"""Atomic file writing: a reader sees the old version or the new one, never a partial file."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from core.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

TEMPORARY = ".tmp"
"""Suffix of a temporary file; its name begins with a dot."""

YOUNG = 10.0
"""Seconds for which an unlocked temporary file is kept in a folder of several processes."""

NEGATIVE = re.compile(r"-\d+([.,]\d+)?([eE][-+]?\d+)?")


def write_bytes_atomic(path: str | Path, data: bytes | memoryview) -> None:
    """Write `data` to a temporary file in the folder of `path`, sync it to disk, then rename it.

    Raises UserError if the system refuses (no space, no permission, no such folder, file too large). The temporary
    file is then removed and an existing `path` is unchanged.
    """
    with _replaced(Path(path), "wb") as file:
        file.write(data)


@contextmanager
def incremental_writer(path: str | Path) -> Iterator[IO[str]]:
    """Open a UTF-8 text file for incremental writing.

    It is renamed to `path` when the block ends. Line endings are written unchanged. Raises UserError if the system
    refuses. On any exception the temporary file is removed.
    """
    with _replaced(Path(path), "w", encoding="utf-8", newline="") as file:
        yield file


@contextmanager
def incremental_bytes_writer(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a binary file for incremental writing, as `incremental_writer` does for text."""
    with _replaced(Path(path), "wb") as file:
        yield file


@contextmanager
def _replaced(path: Path, mode: str, **settings) -> Iterator[IO]:
    """Open a temporary file that replaces `path` when the block ends, and is removed on an exception.

    While it is written it is locked, so that `remove_unfinished` of another process keeps it.
    """
    temporary = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=TEMPORARY, dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, mode, **settings) as file:
            lock(file)
            # mkstemp creates a private file: set the mode that open() would give. Windows has no such modes.
            if hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), 0o666 & ~_umask())
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:  # Windows does not rename an open file
                temporary.replace(path)
        if fcntl is None:
            temporary.replace(path)
        sync_folder(path.parent)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        state = "the previous version is unchanged" if path.exists() else "no partial file remains"
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); {state}: free disk space, "
            f"check the folder's permissions, or choose another folder"
        ) from None


def lock(file: IO) -> bool:
    """Lock an open file until it is closed or its process ends; return False if another one holds the lock.

    The lock is advisory. Returns True without a lock where the system or the file system has none.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def sync_folder(folder: Path) -> None:
    """Sync a folder to disk, so that a renamed file keeps its name after a power failure."""
    if fcntl is None:  # Windows cannot open a folder
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync folders
            raise
    finally:
        os.close(handle)


def as_spreadsheet_text(cell: str) -> str:
    """Return a cell that a spreadsheet shows as text: one that it would take for a formula gets an apostrophe.

    Negative numbers stay numbers.
    """
    formula = cell.startswith(("=", "+", "-", "@", "\t", "\r")) and not NEGATIVE.fullmatch(cell)
    return f"'{cell}" if formula else cell


def row_writer(file: IO[str]) -> Callable[[Sequence[object]], object]:
    """Return a function that writes one CSV row, terminated by a line feed.

    A row with a carriage return is quoted: Python before 3.13 does not quote it and then cannot read it.
    """
    plain = csv.writer(file, lineterminator="\n")
    quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    return lambda cells: (quoted if any("\r" in str(cell) for cell in cells) else plain).writerow(cells)


def user_path(name: str) -> Path:
    """Return a path that a user typed, with `~` expanded.

    Raises UserError for an unknown user in `~user` and for a name that is not UTF-8, which JSON cannot store.
    """
    try:
        name.encode("utf-8")
        return Path(name).expanduser()
    except UnicodeEncodeError:
        raise UserError(f"{name!r}: the file name is not UTF-8: rename the file") from None
    except RuntimeError:
        raise UserError(f"{name}: no home folder of that user: check the name, or give an absolute path") from None


def remove_unfinished(folder: str | Path, age: float = YOUNG) -> None:
    """Remove temporary files that killed processes left in `folder`.

    A file that a process still writes is locked. A new one may not be locked yet: those of less than `age` seconds
    are kept. 0 suits a folder that only this process writes to.
    """
    for path in Path(folder).glob(f".*{TEMPORARY}"):
        with suppress(OSError), path.open("rb") as file:
            if time.time() - path.stat().st_mtime >= age and lock(file):
                path.unlink(missing_ok=True)


def write_text_atomic(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 by `write_bytes_atomic`, line endings unchanged."""
    write_bytes_atomic(path, text.encode("utf-8"))


def write_json_atomic(path: str | Path, tree: object, indent: int | None = 2) -> None:
    """Write `tree` as UTF-8 JSON with a final newline, by `write_bytes_atomic`.

    Raises ValueError for NaN or infinity.
    """
    write_text_atomic(path, json.dumps(tree, ensure_ascii=False, allow_nan=False, indent=indent) + "\n")


def _umask() -> int:
    """Return the file-creation mask, which `os.umask` only reports when setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
