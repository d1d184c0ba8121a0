"""Atomic file writing: a reader sees the old version or the new one, never a partial file."""

from __future__ import annotations

import csv
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from core.errors import UserError

NEGATIVE = re.compile(r"-\d+([.,]\d+)?([eE][-+]?\d+)?")


def write_bytes_atomic(path: str | Path, data: bytes) -> None:
    """Write `data` to a temporary file in the folder of `path`, sync it to disk, then rename it.

    Raises UserError if the system refuses (no space, no permission, no such folder, file too large). The temporary
    file is then removed and an existing `path` is unchanged.
    """
    path = Path(path)
    temporary = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            # mkstemp creates a private file: set the mode that open() would give. Windows has no such modes.
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
        state = "the previous version is unchanged" if path.exists() else "no partial file remains"
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); {state}: free disk space, "
            f"check the folder's permissions, or choose another folder"
        ) from None


@contextmanager
def incremental_writer(path: str | Path) -> Iterator[TextIO]:
    """Open a UTF-8 text file for incremental writing.

    It is renamed to `path` when the block ends. Line endings are written unchanged. Raises UserError if the system
    refuses. On any exception the temporary file is removed.
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
            f"{path}: cannot be written ({error.strerror or error}); no partial file remains: free disk space, check"
            f" the folder's permissions, or choose another folder"
        ) from None


def as_spreadsheet_text(cell: str) -> str:
    """Return a cell that a spreadsheet shows as text: one that it would take for a formula gets an apostrophe.

    Negative numbers stay numbers.
    """
    formula = cell.startswith(("=", "+", "-", "@", "\t", "\r")) and not NEGATIVE.fullmatch(cell)
    return f"'{cell}" if formula else cell


def row_writer(file: TextIO) -> Callable[[Sequence[object]], object]:
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


def remove_unfinished(folder: str | Path) -> None:
    """Remove temporary files that a killed process left in `folder`."""
    for path in Path(folder).glob(".*.tmp"):
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
