"""Text files as people have them, read line by line: plain or .gz, in any encoding."""

from __future__ import annotations

import codecs
import gzip
import stat
import zlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import IO

from core.data.download import Progress, no_progress
from core.data.encodings import Decoding, Recoder, detect_encoding, is_wide
from core.errors import UserError, note_once

PACKED = (gzip.BadGzipFile, EOFError, zlib.error)
"""Errors of a damaged .gz file."""

GZIP = b"\x1f\x8b"
"""First bytes of a .gz file."""

LONGEST_LINE = 20_000_000
"""Largest number of bytes of a line."""

BLOCK = 1 << 20


class TextLines:
    """Decoded lines of a file, with line endings; `number` is the last line number.

    The encoding is that of `encodings.detect_encoding`; another one than requested is told in a Note. Raises UserError
    while iterating: no regular file, damaged, a line that is too long or not in the encoding, a NUL character.
    """

    def __init__(self, path: Path, requested: str, progress: Progress = no_progress) -> None:
        self.path, self.progress, self.number = path, progress, 0
        self.decoding = decoding_of(path, requested)

    def __iter__(self) -> Iterator[str]:
        encoding = self.decoding.encoding
        with _errors_of(self.path), self.path.open("rb") as raw:
            size = self.path.stat().st_size
            file = _unpacked(raw)
            wide = is_wide(encoding)
            lines = Recoder(_blocks(file), encoding) if wide else file
            while line := self._next(lines.readline):
                self.number += 1
                if len(line) >= LONGEST_LINE:
                    raise UserError(
                        f"{self.where}: a line of more than {LONGEST_LINE:,} bytes: give a text file or a table"
                    )
                if self.number % 5000 == 0:
                    self.progress(f"reading {self.path.name}", raw.tell(), size)
                yield self._decoded(line, "utf-8" if wide else encoding)
            self.progress(f"reading {self.path.name}", size, size)

    def blocks(self, errors: str = "strict") -> Iterator[str]:
        """Yield the decoded text in blocks, for formats that are not made of lines; `errors` as in `bytes.decode`."""
        decoder = codecs.getincrementaldecoder(self.decoding.encoding)(errors)
        with _errors_of(self.path), self.path.open("rb") as raw:
            size, first = self.path.stat().st_size, True
            for block in chain(_blocks(_unpacked(raw)), [b""]):
                self.progress(f"reading {self.path.name}", raw.tell(), size)
                try:
                    text = decoder.decode(block, not block)
                except UnicodeDecodeError as error:
                    self.number += error.object.count(b"\n", 0, error.start) + 1
                    raise self._invalid("") from None
                self.number += text.count("\n")
                if text:
                    yield text.removeprefix("\ufeff") if first else text
                    first = False

    def _next(self, readline) -> bytes:
        try:
            return readline(LONGEST_LINE)
        except UnicodeError:  # of a wide encoding
            raise self._invalid("") from None

    def _decoded(self, line: bytes, encoding: str) -> str:
        if self.number == 1 and b"\r" in line.rstrip(b"\r\n"):
            raise UserError(f"{self.path}: lines end in CR alone (old Mac format): save it with LF or CRLF")
        if b"\0" in line:
            raise UserError(f"{self.where}: a NUL byte, so not text: save the file as UTF-8 text")
        try:
            text = line.decode(encoding)
        except UnicodeError as error:
            place = f" at byte {error.start} of the line" if isinstance(error, UnicodeDecodeError) else ""
            raise self._invalid(place) from None
        return text.removeprefix("\ufeff") if self.number == 1 else text

    def _invalid(self, place: str) -> UserError:
        return UserError(
            f"{self.where}: not {self.decoding.name}{place}: convert that row, or"
            f" set the file's encoding (`data.encoding` gb18030 for Chinese, cp1252 for Western, from Excel)"
        )

    @property
    def where(self) -> str:
        return f"{self.path}: line {self.number}"


def decoding_of(path: Path, requested: str) -> Decoding:
    """Return how to decode a file, plain or .gz, and issue a Note if it is not as requested.

    The whole file is read, once per process. Raises UserError like `TextLines`.
    """
    check_regular(path)
    with _errors_of(path):
        known = path.stat()
        found = _decoding(path, requested, (known.st_mtime_ns, known.st_size, known.st_ino))
    if found.reason:
        note_once(f"{path.absolute()}: read as {found.name} ({found.reason})")
    return found


@lru_cache(maxsize=64)
def _decoding(path: Path, requested: str, _: tuple[int, int, int]) -> Decoding:
    with path.open("rb") as raw:
        return detect_encoding(_blocks(_unpacked(raw)), requested)


def check_regular(path: Path) -> None:
    """Raise UserError for a path that is no regular file: missing, a folder, a device such as /dev/zero."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a device or pipe"
        raise UserError(f"{path}: {what}, not a file: give the path of a file")


def is_packed(raw: IO[bytes]) -> bool:
    """Return whether an opened file is a .gz file, by its first two bytes."""
    start = raw.read(len(GZIP))
    raw.seek(0)
    return start == GZIP


def _unpacked(raw: IO[bytes]) -> IO[bytes]:
    return gzip.open(raw) if is_packed(raw) else raw  # type: ignore[return-value]


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(BLOCK):
        yield block


class _errors_of:
    """Turn the errors of reading `path` into a UserError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _, error: BaseException | None, __) -> None:
        if isinstance(error, PACKED):
            raise UserError(f"{self.path}: truncated or damaged ({error}): copy or compress it again") from None
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise UserError(f"{self.path}: cannot be read ({reason}): check its permissions") from None
