"""Members of a zip archive, by its central directory.

Python's `zipfile` creates an object of a kilobyte for every entry of the directory, and its members may overlap, so a
small archive can claim any size. Here, the number of entries is limited, and `Archive` returns every byte of the file
at most once. `MemberStream` reads one member of any size.

Source: PKWARE's APPNOTE 6.3.10, sections 4.3 and 4.5.3.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

BYTES_PER_MEMBER = 150
"""Smallest honest size of a member with its two headers."""
SPARE = 2000
_END, _END64, _LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_ENTRY = struct.Struct("<4s4xHH4xIIIHHH8xI")
_LOCAL = struct.Struct("<4s22xHH")
_STORED, _DEFLATED = 0, 8
BLOCK = 1 << 18
"""Packed bytes per call of zlib, which copies what it does not consume. A call returns at most 16 times as many."""


class BadZip(ValueError):
    """A damaged or hostile archive."""


class Member(NamedTuple):
    """An entry of the directory: `packed` and `size` in bytes, `offset` that of the local header."""

    name: str
    encrypted: bool
    method: int
    crc: int
    packed: int
    size: int
    offset: int

    @property
    def readable(self) -> bool:
        return not self.encrypted and self.method in (_STORED, _DEFLATED)


def read_members(file: BinaryIO, most: int | None = None) -> list[Member]:
    """Return all entries. Raises BadZip for a damaged directory or more than `most` entries.

    By default, `most` is proportional to the size of the file.
    """
    size = file.seek(0, io.SEEK_END)
    start, length, shift, count = _locate(file, size)
    most = SPARE + size // BYTES_PER_MEMBER if most is None else most
    if count > most:
        raise BadZip(f"{count:,} members, expected at most {most:,}")
    file.seek(start)
    data, place, members = file.read(length), 0, []
    while place < length:
        if len(members) == most:
            raise BadZip(f"more than {most:,} members")
        if place + _ENTRY.size > length:
            raise BadZip("truncated directory")
        mark, flags, method, crc, packed, unpacked, name, extra, comment, offset = _ENTRY.unpack_from(data, place)
        if mark != b"PK\x01\x02":
            raise BadZip("damaged directory")
        place += _ENTRY.size
        text = data[place : place + name].decode("utf-8" if flags & 0x800 else "cp437", "backslashreplace")
        if 0xFFFFFFFF in (packed, unpacked, offset):
            more = data[place + name : place + name + extra]
            unpacked, packed, offset = _wide(more, (unpacked, packed, offset))
        members.append(Member(text, bool(flags & 1), method, crc, packed, unpacked, offset + shift))
        place += name + extra + comment
    return members


def is_zip(file: BinaryIO) -> bool:
    """Return whether a file ends like a zip archive."""
    try:
        _locate(file, file.seek(0, io.SEEK_END))
    except BadZip:
        return False
    finally:
        file.seek(0)
    return True


def _locate(file: BinaryIO, size: int) -> tuple[int, int, int, int]:
    """Return start and length of the directory, the bytes before the archive, and the claimed number of members."""
    tail = min(size, 22 + 65535)
    file.seek(size - tail)
    data = file.read(tail)
    place = data.rfind(_END)
    if place < 0 or place + 22 > len(data):
        raise BadZip("no end of a zip archive: truncated")
    count, length, offset = struct.unpack_from("<HII", data, place + 10)
    end = size - tail + place
    if end >= 20:
        file.seek(end - 20)
        locator = file.read(20)
        if locator.startswith(_LOCATOR):
            (end,) = struct.unpack_from("<Q", locator, 8)
            file.seek(min(end, size))
            record = file.read(56)
            if len(record) < 56 or not record.startswith(_END64):
                raise BadZip("damaged end of a zip64 archive")
            count, length, offset = struct.unpack_from("<QQQ", record, 32)
    shift = end - length - offset
    if shift < 0:
        raise BadZip("truncated directory")
    return end - length, length, shift, count


def _wide(extra: bytes, values: tuple[int, int, int]) -> list[int]:
    """Replace the values that do not fit 32 bits by those of the zip64 field."""
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, place)
        if kind == 1:
            numbers = iter(struct.unpack_from(f"<{min(length, len(extra) - place - 4) // 8}Q", extra, place + 4))
            return [next(numbers, value) if value == 0xFFFFFFFF else value for value in values]
        place += 4 + length
    return list(values)


def _start(header: bytes | memoryview, member: Member) -> int:
    """Return where the packed content of a member begins, after its local `header`."""
    if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
        raise BadZip(f"{member.name[:60]} is truncated")
    _, name, extra = _LOCAL.unpack(header)
    return member.offset + _LOCAL.size + name + extra


class Archive:
    """The members of an archive in memory. Memory that unpacking creates is charged to `create`."""

    def __init__(self, data: bytes, create: Callable[[int], None]) -> None:
        self.members = read_members(io.BytesIO(data))
        self._seen: set[int] = set()
        self._data, self._left, self._create = memoryview(data), len(data), create

    def read(self, member: Member) -> memoryview:
        """Return the content of a member after checking its CRC-32. Raises BadZip.

        Stored content is a view of the file. All calls together return each byte of the file at most once.
        """
        if not member.readable:
            raise BadZip(f"{member.name[:60]} is encrypted or uses an unknown compression")
        packed = self._packed(member)
        self._seen.add(member.offset)
        content = packed if member.method == _STORED else self._inflate(packed, member)
        if len(content) != member.size:
            raise BadZip(f"{member.name[:60]} has not the size that its directory claims")
        if zlib.crc32(content) != member.crc:
            wrong = "checksum mismatch" if member.crc else "no checksum"  # as set_crc32_options(False) of torch writes
            raise BadZip(f"{wrong}, CRC-32 of {member.name[:60]}")
        return content

    def _inflate(self, packed: memoryview, member: Member) -> memoryview:
        """Return unpacked content, at most one byte longer than claimed, with its memory allocated once."""
        self._create(member.size)
        content, place, start = bytearray(member.size), 0, 0
        unpack = zlib.decompressobj(-zlib.MAX_WBITS)
        while place <= member.size and not unpack.eof:
            given: bytes | memoryview = unpack.unconsumed_tail
            if not given:
                given, start = packed[start : start + BLOCK], start + BLOCK
            # Without input, zlib returns what is left of a match.
            piece = unpack.decompress(given, min(member.size - place + 1, 16 * BLOCK))
            if not piece and not given:
                break
            content[place : place + len(piece)] = piece
            place += len(piece)
        return memoryview(content)[:place]

    def check(self) -> None:
        """Check the CRC-32 of every member that was not read yet. Raises BadZip."""
        for member in self.members:
            if member.offset not in self._seen:
                self.read(member)

    def _packed(self, member: Member) -> memoryview:
        start = _start(self._data[member.offset : member.offset + _LOCAL.size], member)
        packed = self._data[start : start + member.packed]
        if len(packed) < member.packed:
            raise BadZip(f"{member.name[:60]} is truncated")
        self._left -= member.packed
        if self._left < 0:
            raise BadZip("members overlap")
        return packed


class MemberStream:
    """The content of a member of an archive on disk, as a stream. Raises BadZip, for a wrong CRC-32 at its end."""

    def __init__(self, file: BinaryIO, member: Member) -> None:
        if not member.readable:
            raise BadZip(f"{member.name[:60]} is encrypted or uses an unknown compression")
        file.seek(min(member.offset, file.seek(0, io.SEEK_END)))
        file.seek(_start(file.read(_LOCAL.size), member))
        self._file, self._member = file, member
        self._packed, self._left, self._crc = member.packed, member.size, 0
        self._unpack = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == _DEFLATED else None

    def read(self, size: int) -> bytes:
        """Return the next bytes, none only at the end."""
        data = b""
        while not data and self._left:
            packed = self._unpack.unconsumed_tail if self._unpack else b""
            if not packed:
                packed = self._file.read(min(size, self._packed))
                self._packed -= len(packed)
            # Without input, zlib returns what is left of a match.
            data = self._unpack.decompress(packed, size) if self._unpack else packed
            if not data and (not packed or (self._unpack and self._unpack.eof)):
                raise BadZip(f"{self._member.name[:60]} is truncated")
            data = data[: self._left]
            self._left -= len(data)
            self._crc = zlib.crc32(data, self._crc)
        if not self._left and self._crc != self._member.crc:
            raise BadZip(f"checksum mismatch, CRC-32 of {self._member.name[:60]}")
        return data
