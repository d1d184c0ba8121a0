"""Hostile files of word vectors: each ends in one line, within the limit of unpacked bytes."""

from __future__ import annotations

import gzip
import io
import zipfile

import pytest

from core import zip_directory
from core.data import packed_text
from core.data.pretrained_vectors import open_vectors
from core.zip_directory import Archive, BadZip, MemberStream, read_members
from tests.core.weights.hostile import changed_after, crowded, zipped
from tests.peak_memory import refusal

LINES = b"film 1\n" * 400_000
ONE = zipped({"a.txt": b"film 1\n"}, zipfile.ZIP_DEFLATED)


def in_directory(offset: int, new: bytes, data: bytes = ONE) -> bytes:
    return changed_after(data, b"PK\x01\x02", offset, new)


HOSTILE = {
    "compressed lines.txt.gz": (
        gzip.compress(LINES),
        "unpacks to more than 1 MB, the limit for its size: unpack it first",
    ),
    "compressed lines.zip": (zipped({"a.txt": LINES}, zipfile.ZIP_DEFLATED), "unpacks to more than 1 MB"),
    "spaces.txt": (b"film 1\n" + b" " * (3 << 20), "line 2 is longer than 1,048,576 bytes"),
    "claims 10**9 x 10**9.txt": (b"1000000000 999999999\nfilm 1 2\n", "line 1 claims 999,999,999 numbers per word"),
    "claims, binary.bin": (b"1000000000 999999999\nfilm " + bytes(100), "line 1 claims 999,999,999 numbers per word"),
    "binary, an endless word.bin": (b"9 2\n" + b"\x01" * (5 << 20), "word 1 has more than 1,048,576 bytes"),
    "binary, claims 10**18 words.bin": (b"999999999999999999 2\nfilm " + bytes(8), "ends after 1 vectors"),
    "claims 10**18 words.txt": (b"999999999999999999 2\nfilm 1 2\n", "expected 999,999,999,999,999,999 by line 1"),
    "long number.txt": (b"film " + b"1" * 900_000 + b"\n", f"{'1' * 40} is not a finite float32"),
    "many members.zip": (crowded(200, b"a.txt"), "200 members, expected at most 100"),
    "unprintable.zip": (zipped({f"\n{number}{'y' * 60_000}.txt": b"" for number in range(9)}), r"members: '\n0yyy"),
    "claims a size.zip": (in_directory(24, b"\xfe\xff\xff\xff"), "a.txt is truncated"),
    "claims less.zip": (in_directory(24, b"\x01\x00\x00\x00"), "checksum mismatch, CRC-32 of a.txt"),
    "claims an offset.zip": (in_directory(42, b"\xff\xff\xff\x7f"), "a.txt is truncated"),
    "unknown compression.zip": (in_directory(10, b"\x0e\x00"), "a.txt is encrypted or uses an unsupported compression"),
    "ends early.zip": (
        in_directory(20, b"\x20\x00\x00\x00", in_directory(24, b"\xff\x00\x00\x00")),
        "a.txt is truncated",
    ),
}


@pytest.mark.parametrize("title", HOSTILE)
def test_a_hostile_file_ends_in_one_line_within_its_limit(title, tmp_path, monkeypatch):
    monkeypatch.setattr(packed_text, "UNPACKED", 10**6)
    monkeypatch.setattr(packed_text, "MEMBERS", 100)
    data, said = HOSTILE[title]
    path = tmp_path / title
    path.write_bytes(data)
    message, peak = refusal(lambda: open_vectors(str(path)).read({"film"}, lambda *_: None))
    assert said in message and message.startswith(str(path))
    assert message.isprintable() and len(message) < 1000
    assert peak < 20 * 10**6, f"{peak:,} bytes"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_members_are_read_as_zipfile_does(method, size, rng):
    contents = {"a": b"", "b/caf\u00e9": rng.bytes(3000), "c": bytes(5000)}
    file = io.BytesIO(zipped(contents, method))
    members = read_members(file)
    assert [member.name for member in members] == list(contents)
    for member in members:
        stream, found = MemberStream(file, member), b""
        while block := stream.read(size):
            found += block
        assert found == contents[member.name] and stream.read(size) == b""


def test_a_member_that_ends_within_a_match(monkeypatch):
    """zlib can hold output when it has consumed all input."""
    monkeypatch.setattr(zip_directory, "BLOCK", 1)
    for length in range(1, 700, 3):
        data = zipped({"a": b"a" * length}, zipfile.ZIP_DEFLATED)
        file, archive = io.BytesIO(data), Archive(data, lambda _: None)
        (member,) = read_members(file)
        stream = MemberStream(file, member)
        assert b"".join(iter(lambda stream=stream: stream.read(1), b"")) == b"a" * length
        assert bytes(archive.read(member)) == b"a" * length


def test_large_archives_and_archives_after_other_bytes():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("a", "w", force_zip64=True) as file:
        file.write(b"one")
    plain = buffer.getvalue()
    entry = plain.index(b"PK\x01\x02")
    wide = b"\x01\x00\x18\x00" + (3).to_bytes(8, "little") * 2 + bytes(8)
    directory = bytearray(plain[entry:][: 46 + 1]) + wide
    directory[20:28], directory[30:32], directory[42:46] = b"\xff" * 8, len(wide).to_bytes(2, "little"), b"\xff" * 4
    count, length, start = (1).to_bytes(8, "little"), len(directory).to_bytes(8, "little"), entry.to_bytes(8, "little")
    end = b"PK\x06\x06" + (44).to_bytes(8, "little") + bytes(12) + count * 2 + length + start
    locator = b"PK\x06\x07" + bytes(4) + (entry + len(directory)).to_bytes(8, "little") + (1).to_bytes(4, "little")
    large = plain[:entry] + directory + end + locator + b"PK\x05\x06" + bytes(4) + b"\xff" * 12 + bytes(2)
    for data in (plain, b"#!/bin/sh\n" + plain, large):
        file = io.BytesIO(data)
        (member,) = read_members(file)
        assert (member.name, member.packed, member.size) == ("a", 3, 3)
        assert MemberStream(file, member).read(10) == b"one"
    for cut in range(len(large)):
        with pytest.raises(BadZip):
            read_members(io.BytesIO(large[:cut]))
