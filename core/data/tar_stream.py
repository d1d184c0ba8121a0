"""Reader of tar archives as a stream, with limits on everything that a header claims.

Python's `tarfile` returns terabytes of zeros for a sparse member, reads extended headers of any size, and recurses for
every one of them. Here, regular files of POSIX, GNU and pax archives are read; other members are skipped, and sparse
ones are refused.

Sources: POSIX.1-2017, `pax`, sections ustar and pax interchange format; GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

BLOCK = 512
READ = 1 << 20
"""Bytes per read of the stream."""
LONGEST_HEADER = 1 << 16
"""Most bytes of an extended header, which holds a long name."""
_DIGITS = 20
"""Most digits of a size in an extended header."""
_REGULAR = b"0\x007"
_ZEROS = bytes(BLOCK)
_WITHOUT_CONTENT = b"123456"
"""Links, devices, folders and pipes: their size is not that of content."""


class BadTar(ValueError):
    """A damaged or hostile archive, or no archive."""


class OverLimit(BadTar):
    """An archive that claims more than a limit."""


class Member(NamedTuple):
    """A member with `size` bytes of content, 0 unless it is a regular file."""

    name: str
    size: int
    regular: bool


class TarStream:
    """The members of an archive, in order. `read` is that of a stream, without its limits.

    `most` members and extended headers and `longest` bytes are read. Raises BadTar for more, and for damage.
    """

    def __init__(self, read: Callable[[int], bytes], most: int, longest: int) -> None:
        self._source, self._left, self._longest = read, longest, longest
        self._headers, self._most = most, most
        self._buffer, self._place = b"", 0
        self._content = self._padding = 0
        # No more than the first header: damage of what follows it is not the sign of another kind of file.
        self._fill(BLOCK)
        self._first: bytes = self._take(BLOCK)
        if len(self._first) < BLOCK or not any(self._first) or not _is_header(self._first):
            raise BadTar("not a tar archive")

    def __iter__(self) -> Iterator[Member]:
        """Yield all members. The content of the last one can be read until the next one is requested."""
        block, name, sizes = self._first, None, {}
        while len(block) == BLOCK and block != _ZEROS:
            self._headers -= 1
            if self._headers < 0:
                raise OverLimit(f"more than {self._most:,} members, the limit")
            if not _is_header(block):
                raise BadTar("damaged header")
            kind, size = block[156:157], _number(block[124:136])
            if kind in (b"x", b"X", b"g", b"L", b"K"):
                extended = self._extended(size)
                if kind == b"L":
                    name = _text(extended)
                elif kind in (b"x", b"X"):
                    sizes = _pax(extended)
                    name = sizes.get("path", name)
            else:
                if kind == b"S" or (sizes and any(key.startswith("GNU.sparse.") for key in sizes)):
                    shown = (name or _name(block))[:100]
                    raise BadTar(f"{shown if shown.isprintable() else ascii(shown)} is a sparse file")
                size = _decimal(sizes["size"]) if "size" in sizes else size
                size = 0 if kind in _WITHOUT_CONTENT else size
                self._content, self._padding = size, -size % BLOCK
                yield Member(name or _name(block), size, kind in _REGULAR)
                self._skip(self._content + self._padding)
                name, sizes = None, {}
            block = self._take(BLOCK)
        if 0 < len(block) < BLOCK:
            raise BadTar("truncated header")

    def content(self) -> bytes:
        """Return the content of the current member."""
        data, self._content = self._exactly(self._content), 0
        return data

    def finish(self) -> None:
        """Read to the end of the stream, where its checksum is verified."""
        while self._fill():
            self._buffer, self._place = b"", 0

    def _extended(self, size: int) -> bytes:
        if size > LONGEST_HEADER:
            raise BadTar(f"a header of {size:,} bytes, expected at most {LONGEST_HEADER:,}")
        data = self._exactly(size)
        self._skip(-size % BLOCK)
        return data

    def _exactly(self, size: int) -> bytes:
        data = self._take(size)
        if len(data) < size:
            raise BadTar("unexpected end of data")
        return data

    def _take(self, size: int) -> bytes:
        """Return the next bytes, fewer at the end of the stream."""
        while len(self._buffer) - self._place < size and self._fill():
            pass
        start = self._place
        data = self._buffer[start : start + size]
        self._place = start + len(data)
        return data

    def _skip(self, size: int) -> None:
        if size <= len(self._buffer) - self._place:
            self._place += size
            return
        while size > 0:
            held = len(self._buffer) - self._place
            step = min(size, held)
            self._place += step
            size -= step
            if size and not self._fill():
                raise BadTar("unexpected end of data")

    def _fill(self, size: int = READ) -> bool:
        """Append the next bytes of the stream to the buffer; return whether there were any."""
        block = self._source(size)
        self._left -= len(block)
        if self._left < 0:
            raise OverLimit(f"unpacks to more than {self._longest / 10**6:,.0f} MB, the limit for its size")
        self._buffer, self._place = self._buffer[self._place :] + block, 0
        return bool(block)


def _is_header(block: bytes) -> bool:
    """Return whether the checksum is right, of unsigned or, in old archives, of signed bytes."""
    try:
        found = _number(block[148:156])
    except BadTar:
        return False
    if block.isascii():
        # The low half of Adler-32 is 1 plus the sum of the bytes, modulo 65,521, which ASCII does not reach.
        return found == (zlib.adler32(block) & 0xFFFF) - 1 - sum(block[148:156]) + 8 * ord(" ")
    rest = block[:148] + b"        " + block[156:]
    total = sum(rest)
    return found == total or found == total - 256 * sum(byte > 127 for byte in rest)


def _number(field: bytes) -> int:
    """Return an octal number, or a binary one of GNU tar. Raises BadTar."""
    if field[0] >= 0x80 and field[0] in (0x80, 0xFF):
        value = int.from_bytes(field[1:], "big")
        if field[0] == 0xFF:
            raise BadTar("a negative number in a header")
        return value
    digits = field.partition(b"\0")[0].strip()
    try:
        return int(digits or b"0", 8)
    except ValueError:
        raise BadTar("damaged header") from None


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise BadTar("damaged extended header")
    return int(text)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _name(block: bytes) -> str:
    prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else ""
    return f"{prefix}/{_text(block[:100])}" if prefix else _text(block[:100])


def _pax(data: bytes) -> dict[str, str]:
    """Return the records `LENGTH KEY=VALUE` of an extended header. Raises BadTar."""
    found, place = {}, 0
    while place < len(data) and data[place]:
        length, space, _ = data[place : place + 20].partition(b" ")
        if not space or _decimal(length.decode("latin-1")) <= len(length) + 1:
            raise BadTar("damaged extended header")
        key, _, value = data[place + len(length) + 1 : place + int(length) - 1].partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        place += int(length)
    return found
