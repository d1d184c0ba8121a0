"""Writing a file so that a reader sees the old version or the new one, never half of either."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from core.errors import UserError


def write_bytes_atomic(path: str | Path, data: bytes) -> None:
    """Write `data` to a temporary name beside `path`, flush it to the disk, then rename.

    Raises UserError if the system refuses (no space, no permission, no such folder, file too large): the temporary
    file is removed and what stood at `path` before is untouched.
    """
    path = Path(path)
    temporary = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            # mkstemp makes the file private; give it the mode that a plain open() would have. Windows has no modes.
            if hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), 0o666 & ~_umask())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        untouched = "the previous version is untouched" if path.exists() else "nothing was left behind"
        raise UserError(
            f"{path}: could not be written ({error.strerror or error}); {untouched}: free space, "
            f"check the folder's permissions, or choose another folder"
        ) from None


@contextmanager
def growing_text(path: str | Path) -> Iterator[TextIO]:
    """A UTF-8 file to write to bit by bit, under a temporary name until it is whole; line ends as they are written.

    Raises UserError if the system refuses; then, and where the block raises, nothing is left behind.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}.tmp")
    try:
        try:
            with temporary.open("x", encoding="utf-8", newline="") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{path}: could not be written ({error.strerror or error}); nothing was left behind: free space, check the"
            f" folder, or choose another"
        ) from None


def row_writer(file: TextIO) -> Callable[[Sequence[object]], object]:
    """A function that writes one row of CSV, ending in a line feed.

    A row that holds a carriage return is quoted: Python before 3.13 does not do so by itself, and could not read it.
    """
    plain = csv.writer(file, lineterminator="\n")
    quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    return lambda cells: (quoted if any("\r" in str(cell) for cell in cells) else plain).writerow(cells)


def user_path(name: str) -> Path:
    """A path that a user typed. Raises UserError for `~someone` who is not there, and for a name that is not UTF-8,
    which no record could hold."""
    try:
        name.encode("utf-8")
        return Path(name).expanduser()
    except UnicodeEncodeError:
        raise UserError(f"{name!r}: this name is not UTF-8: rename it") from None
    except RuntimeError:
        raise UserError(f"{name}: there is no home folder of that name") from None


def remove_unfinished(folder: str | Path) -> None:
    """Remove what a process that was killed while writing into `folder` left half-written there."""
    for path in Path(folder).glob(".*.tmp"):
        path.unlink(missing_ok=True)


def write_text_atomic(path: str | Path, text: str) -> None:
    """`write_bytes_atomic` of `text` in UTF-8, line ends as they are."""
    write_bytes_atomic(path, text.encode("utf-8"))


def write_json_atomic(path: str | Path, tree: object, indent: int | None = 2) -> None:
    """`write_bytes_atomic` of `tree` as JSON in UTF-8, ending in a newline. Raises ValueError for NaN or infinity."""
    write_text_atomic(path, json.dumps(tree, ensure_ascii=False, allow_nan=False, indent=indent) + "\n")


def _umask() -> int:
    """The process's file-creation mask; the system only tells it when it is set."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
