"""Text in a file that is plain, .gz or inside a .zip, as a stream with a limit on the unpacked bytes."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from core.errors import UserError
from core.zip_directory import BadZip, Member, MemberStream, is_zip, read_members

UNPACKED, UNPACKED_PER_BYTE = 16 * 10**6, 10
"""Limit of the unpacked bytes: a constant, and bytes per byte of the file; vectors in text have 3."""

MEMBERS = 10_000
"""Most members of a zip."""

SUFFIXES = (".txt", ".vec")
"""Suffixes of zip members that are read as vectors when no member is named."""

DAMAGED = (BadZip, gzip.BadGzipFile, EOFError, zlib.error)


class _Limited:
    """A stream of unpacked bytes that raises UserError beyond the limit for a file of `size` bytes."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile | MemberStream, name: str, size: int) -> None:
        self._stream, self._name = stream, name
        self._longest = self._left = UNPACKED + UNPACKED_PER_BYTE * size

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise UserError(
                f"{self._name}: unpacks to more than {self._longest / 10**6:,.0f} MB, the limit for its size: unpack it"
                f" first, and give the text file"
            )
        return data


Stream = IO[bytes] | _Limited


@contextmanager
def opened(path: Path, member: str | None) -> Iterator[tuple[Stream, Callable[[], int], int]]:
    """Yield a byte stream of the text, a function returning its position, and its size.

    Raises UserError: the file cannot be read, is damaged, not of the kind that its suffix tells, or unpacks to more
    than the limit; a zip without the `member`, or None for its only text file.
    """
    name = name_of(path, member)
    try:
        with path.open("rb") as raw:
            start = raw.read(2)
            raw.seek(0)
            kind = {b"PK": ".zip", b"\x1f\x8b": ".gz"}.get(start, "")
            suffix = path.suffix.lower()
            if suffix in (".zip", ".gz") and suffix != kind:
                found = "empty" if not start else f"damaged, or not a {suffix} file despite its name"
                raise UserError(f"{path}: {found}: download or copy it again")
            if member is not None and kind != ".zip":
                raise UserError(f"{path}: not a zip, so it has no member {member}: omit ::{member}")
            if kind == ".gz":
                size = path.stat().st_size
                with gzip.GzipFile(fileobj=raw) as stream:
                    yield _Limited(stream, name, size), raw.tell, size
            elif suffix == ".zip" or (kind == ".zip" and is_zip(raw)):
                size, chosen = path.stat().st_size, _member(read_members(raw, MEMBERS), path, member)
                yield _Limited(MemberStream(raw, chosen), name, size), raw.tell, size
            else:
                yield raw, raw.tell, path.stat().st_size
    except DAMAGED as error:
        raise UserError(f"{name}: truncated or damaged ({error}): download or copy the file again") from None
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror or error}): check its permissions") from None


def _member(members: list[Member], path: Path, member: str | None) -> Member:
    files = [file for file in members if not file.name.endswith("/") and not file.name.startswith("__MACOSX/")]
    if member is None:
        chosen = [file for file in files if file.name.lower().endswith(SUFFIXES)]
    else:
        chosen = [file for file in files if file.name == member]
    if len(chosen) != 1:
        shown = ", ".join(_shown(file.name) for file in (chosen or files)[:8]) or "no file"
        wrong = f"no member {member}" if member is not None else f"{len(chosen) or 'no'} text files, expected one"
        raise UserError(f"{path}: {wrong}: name one as {path.name}::MEMBER (members: {shown})")
    if not chosen[0].readable:
        raise UserError(
            f"{path}: {_shown(chosen[0].name)} is encrypted or uses an unsupported compression: unpack the zip"
        )
    return chosen[0]


def name_of(path: Path, member: str | None) -> str:
    return str(path) if member is None else f"{path}::{member}"


def _shown(name: str) -> str:
    """Return a name of the file for one line of an error."""
    return name[:60] if name.isprintable() else ascii(name[:60])
