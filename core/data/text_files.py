"""Text files as people have them, read line by line: plain or .gz, in any encoding; and streams of lines."""

from __future__ import annotations

import codecs
import gzip
import io
import stat
import zlib
from collections.abc import Callable, Hashable, Iterator
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import IO

from core.data.download import Progress, no_progress
from core.data.encodings import Decoding, check_encoding, detect_encoding, is_wide, joined, recoded
from core.errors import UserError, note_once

PACKED = (gzip.BadGzipFile, EOFError, zlib.error)
"""Errors of a damaged .gz file."""

GZIP = b"\x1f\x8b"
"""First bytes of a .gz file."""

LONGEST_LINE = 20_000_000
"""Largest number of bytes of a line."""

BLOCK = 1 << 20

ADVICE = "convert it, or set the encoding (`data.encoding` gb18030 for Chinese, cp1252 for Western, from Excel)"
"""How to fix a line that is not in the encoding."""


class _Lines:
    """Decoded lines with line endings; `name` is the file's in messages, `number` that of the last line."""

    def __init__(self, name: str, advice: str = ADVICE) -> None:
        self.name, self.advice, self.number = name, advice, 0

    @property
    def where(self) -> str:
        return f"{self.name}: line {self.number}"

    def next_line(self, readline: Callable[[int], bytes]) -> bytes:
        """Return the next line, b"" at the end."""
        line = readline(LONGEST_LINE)
        if line:
            self.number += 1
            if len(line) >= LONGEST_LINE:
                raise UserError(
                    f"{self.where}: a line of more than {LONGEST_LINE:,} bytes: give a text file or a table"
                )
        return line

    def decoded(self, line: bytes, encoding: str, name: str = "") -> str:
        """Decode a line; `name` is the file's encoding if the line was recoded from a wide one."""
        if self.number == 1 and b"\r" in line.rstrip(b"\r") and not line.endswith(b"\n"):
            raise UserError(f"{self.name}: lines end in CR alone (old Mac format): save it with LF or CRLF")
        if b"\0" in line:
            raise UserError(f"{self.where}: a NUL byte, so not text: save the file as UTF-8 text")
        try:
            text = line.decode(encoding)
        except UnicodeError as error:
            place = f" at byte {error.start} of the line" if isinstance(error, UnicodeDecodeError) and not name else ""
            shown = name or Decoding(encoding).name
            raise UserError(f"{self.where}: not {shown}{place}: {self.advice}") from None
        return text.removeprefix("\ufeff") if self.number == 1 else text


class TextLines(_Lines):
    """The lines of a file.

    The encoding is that of `encodings.detect_encoding`; another one than requested is told in a Note. Raises UserError
    while iterating: damaged, a line that is too long or not in the encoding, a NUL character; and before, if it is no
    regular file.
    """

    def __init__(self, path: Path, requested: str, progress: Progress = no_progress, advice: str = ADVICE) -> None:
        super().__init__(str(path), advice)
        self.path, self.progress = path, progress
        self.decoding = decoding_of(path, requested)

    def __iter__(self) -> Iterator[str]:
        encoding = self.decoding.encoding
        with _errors_of(self.name), self.path.open("rb") as raw:
            size = self.path.stat().st_size
            file = _unpacked(raw)
            wide = is_wide(encoding)
            lines = recoded(_blocks(file), encoding) if wide else file
            told = ("utf-8", self.decoding.name) if wide else (encoding,)
            while line := self.next_line(lines.readline):
                if self.number % 5000 == 0:
                    self.progress(f"reading {self.path.name}", raw.tell(), size)
                yield self.decoded(line, *told)
            self.progress(f"reading {self.path.name}", size, size)

    def blocks(self, errors: str = "strict") -> Iterator[str]:
        """Yield the decoded text in blocks, for formats that are not made of lines; `errors` as in `bytes.decode`."""
        decoder = codecs.getincrementaldecoder(self.decoding.encoding)(errors)
        with _errors_of(self.name), self.path.open("rb") as raw:
            size, first = self.path.stat().st_size, True
            for block in chain(_blocks(_unpacked(raw)), [b""]):
                self.progress(f"reading {self.path.name}", raw.tell(), size)
                try:
                    text = decoder.decode(block, not block)
                except UnicodeDecodeError as error:
                    self.number += error.object.count(b"\n", 0, error.start) + 1
                    raise UserError(f"{self.where}: not {self.decoding.name}: {self.advice}") from None
                self.number += text.count("\n")
                if first and text:
                    text, first = text.removeprefix("\ufeff"), False
                if text:  # the first block may be a byte order mark alone
                    yield text


class StreamLines(_Lines):
    """The lines of a pipe or of standard input, which can be read once.

    The encoding is detected in the first block with other bytes than ASCII. Otherwise like `TextLines`.
    """

    def __init__(self, stream: IO[bytes], name: str, requested: str, advice: str = ADVICE) -> None:
        super().__init__(name, advice)
        check_encoding(requested)
        self.requested, self._stream = requested, stream
        self._found: Decoding | None = None

    def __iter__(self) -> Iterator[str]:
        with _errors_of(self.name):
            blocks = self._detected()
            blocks = chain([next(blocks, b"")], blocks)  # a wide encoding shows in the first block
            if self._found is not None and is_wide(self._found.encoding):
                lines, name = recoded(blocks, self._found.encoding), self._found.name
            else:
                lines, name = joined(blocks), ""
            while line := self.next_line(lines.readline):
                yield self.decoded(line, "utf-8" if name else self._codec, name)

    @property
    def _codec(self) -> str:
        """The encoding so far; ASCII is the same in all that are not wide."""
        encoding = self.requested if self._found is None else self._found.encoding
        return "utf-8" if is_wide(encoding) else encoding

    def _detected(self) -> Iterator[bytes]:
        """Yield the blocks, each after its encoding is known."""
        for block in _blocks(self._stream):
            if self._found is None and not (block.isascii() and b"\0" not in block):
                whole = len(block) < BLOCK
                known = block if whole else block[: block.rfind(b"\n") + 1] or block
                self._found = detect_encoding([known], self.requested, whole)
                _tell(self.name, self._found, id(self))
            yield block


def open_lines(path: Path, requested: str, progress: Progress = no_progress) -> TextLines | StreamLines:
    """Return the lines of a file or of a named pipe, plain or .gz.

    Raises UserError for anything else, such as a folder or a device.
    """
    if not _is_pipe(path):
        return TextLines(path, requested, progress)
    with _errors_of(str(path)):
        return StreamLines(_unpacked(path.open("rb")), str(path), requested)


def decoding_of(path: Path, requested: str) -> Decoding:
    """Return how to decode a file, plain or .gz, and issue a Note if it is not as requested.

    The whole file is read, once per process. Raises UserError like `TextLines`.
    """
    check_regular(path)
    with _errors_of(str(path)):
        status = path.stat()
        version = status.st_mtime_ns, status.st_size, status.st_ino
        found = _decoding(path, requested, version)
    _tell(str(path), found, path.absolute())
    return found


def _tell(name: str, found: Decoding, about: Hashable) -> None:
    if found.reason:
        note_once(f"{name}: read as {found.name} ({found.reason})", (about, found))


@lru_cache(maxsize=64)
def _decoding(path: Path, requested: str, _: tuple[int, int, int]) -> Decoding:
    with path.open("rb") as raw:
        return detect_encoding(_blocks(_unpacked(raw)), requested)


def check_regular(path: Path) -> None:
    """Raise UserError for a path that is no regular file: missing, a folder, a device such as /dev/zero."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): check the path") from None
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "a device"
        raise UserError(f"{path}: {what}, not a file: give the path of a file")


def _is_pipe(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def is_packed(raw: io.BufferedReader) -> bool:
    """Return whether an opened file or pipe is a .gz file, by its first two bytes, which stay unread."""
    return raw.peek(len(GZIP)).startswith(GZIP)


def _unpacked(raw: io.BufferedReader) -> IO[bytes]:
    return gzip.open(raw) if is_packed(raw) else raw  # type: ignore[return-value]


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(BLOCK):
        yield block


class _errors_of:
    """Turn the errors of reading the file `name` into a UserError."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, _, error: BaseException | None, __) -> None:
        if isinstance(error, PACKED):
            raise UserError(f"{self.name}: truncated or damaged ({error}): copy or compress it again") from None
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise UserError(f"{self.name}: cannot be read ({reason}): check its permissions") from None
