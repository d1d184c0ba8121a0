"""Hostile tar archives of reviews: each ends in one line, within the limits of members and unpacked bytes."""

from __future__ import annotations

import gzip
import io
import os
import tarfile

import pytest

from core.data import tar_stream
from core.data.sources import imdb, tar_archive
from core.data.sources.imdb import open_source
from core.data.tar_stream import BadTar, OverLimit, TarStream
from core.errors import UserError
from tests.peak_memory import refusal

REVIEW = "aclImdb/train/pos/0_9.txt"
END = bytes(1024)


def header(name: str, size: int = 0, kind: bytes = b"0", field: bytes | None = None) -> bytes:
    """A header of POSIX, whose size is binary if it does not fit; `field` replaces it."""
    block = bytearray(512)
    block[: len(name)] = name.encode("utf-8", "surrogateescape")
    block[100:124] = b"0000644\x000000000\x000000000\x00"
    block[124:136] = field or (b"%011o\x00" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big"))
    block[136:148], block[156:157], block[257:265] = b"00000000000\x00", kind, b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\x00 " % sum(block)
    return bytes(block)


def member(name: str, content: bytes, kind: bytes = b"0") -> bytes:
    return header(name, len(content), kind) + content + bytes(-len(content) % 512)


def extended(**values: str) -> bytes:
    """An extended header of pax; `__` in a key is a dot."""
    records = b""
    for key, value in values.items():
        record = f" {key.replace('__', '.')}={value}\n".encode()
        length = len(record) + len(str(len(record)))
        records += str(length + (len(str(length)) > len(str(len(record))))).encode() + record
    return member("x", records, b"x")


def long_name(name: str) -> bytes:
    return member("././@LongLink", name.encode() + b"\x00", b"L")


SPARSE = member("x", b"x", b"S")
OTHER = member("other", b"x")
HOSTILE = {
    "sparse of GNU.tar": (SPARSE + END, "x is a sparse file"),
    "sparse of pax.tar": (extended(GNU__sparse__size=str(10**12)) + OTHER + END, "other is a sparse file"),
    "unprintable.tar": (member("a\n\udcff", b"x", b"S") + END, r"'a\n\udcff' is a sparse file"),
    "5,000 digits.tar": (
        long_name(f"train/pos/{'1' * 5000}_9.txt") + OTHER,
        "a number of 5,000 digits, expected at most 9",
    ),
    "5,000 digits of pax.tar": (extended(path=f"train/pos/1_{'1' * 5000}.txt") + OTHER, "a number of 5,000 digits"),
    "size of 5,000 digits.tar": (extended(size="9" * 5000) + OTHER, "damaged extended header"),
    "negative size of pax.tar": (extended(size="-5") + OTHER, "damaged extended header"),
    "1 TB.tar": (header(REVIEW, 10**12) + b"x" * 512, "has 1,000,000,000,000 bytes, expected at most 1,048,576"),
    "1 TB of another file.tar": (header("other", 10**12) + b"x" * 512, "unexpected end of data"),
    "2**86 bytes.tar": (header("other", 2**86) + b"x" * 512, "unexpected end of data"),
    "1 TB of URLs.tar": (header("train/urls_pos.txt", 10**12), "expected at most 2,097,152"),
    "negative size.tar": (OTHER + header(REVIEW, field=b"\xff" * 12), "a negative number in a header"),
    "no octal size.tar": (OTHER + header(REVIEW, field=b"9999999999\x00\x00"), "damaged header"),
    "long extended header.tar": (
        OTHER + header("x", 10**9, b"x"),
        "a header of 1,000,000,000 bytes, expected at most 65,536",
    ),
    "long long name.tar": (OTHER + header("x", 10**9, b"L"), "a header of 1,000,000,000 bytes"),
    "records of pax.tar": (OTHER + member("x", b"3 \n" * 20_000, b"x") + OTHER + END, "got train: 0 neg, 0 pos"),
    "digits of pax.tar": (OTHER + member("x", b"1" * 60_000, b"x"), "damaged extended header"),
    "chain of names.tar": (OTHER + long_name("a") * 200 + OTHER + END, "more than 100 members, the limit"),
    "many members.tar": (header("a") * 200, "more than 100 members, the limit"),
    "compressed file.tar.gz": (
        gzip.compress(header("other", 10**7) + bytes(10**7)),
        "unpacks to more than 1 MB, the limit for its size: use a new copy of the dataset",
    ),
    "compressed reviews.tar.gz": (gzip.compress(member(REVIEW, bytes(10**6)) * 4), "unpacks to more than 1 MB"),
    "compressed end.tar.gz": (gzip.compress(OTHER + bytes(10**7)), "unpacks to more than 1 MB"),
    "second stream.tar.gz": (gzip.compress(OTHER + END) + gzip.compress(bytes(10**7)), "unpacks to more than 1 MB"),
}


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr(tar_archive, "MEMBERS", 100)
    monkeypatch.setattr(tar_archive, "UNPACKED", 10**6)


@pytest.mark.parametrize("title", HOSTILE)
def test_a_hostile_archive_ends_in_one_line_within_its_limits(title, tmp_path, small_limits):
    data, said = HOSTILE[title]
    path = tmp_path / title
    path.write_bytes(data)
    message, peak = refusal(lambda: list(open_source(str(path), tmp_path).documents()))
    assert said in message and message.startswith(f"{path}: ")
    assert message.isprintable() and len(message) < 600
    assert peak < 8 * 10**6, f"{peak:,} bytes"


def test_a_folder_with_a_pipe_and_a_huge_sparse_file(tmp_path, monkeypatch):
    monkeypatch.setattr(imdb, "PER_CLASS", 1)
    for split in ("train", "test"):
        for kind in ("pos", "neg"):
            (tmp_path / split / kind).mkdir(parents=True)
            (tmp_path / split / kind / "0_9.txt").write_text("good")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "train" / "pos" / "1_9.txt")
    assert len(list(open_source(str(tmp_path), tmp_path).documents())) == 4
    with (tmp_path / "train" / "pos" / "0_9.txt").open("r+b") as file:
        file.truncate(10**9)
    with pytest.raises(UserError, match=r"train/pos/0_9.txt has .* bytes, expected at most 1,048,576"):
        list(open_source(str(tmp_path), tmp_path).documents())


def stream_of(data: bytes, longest: int = 10**9) -> TarStream:
    return TarStream(io.BytesIO(data).read, 1000, longest)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("read", [512, tar_stream.READ])
def test_archives_of_every_format_are_read_as_tarfile_does(form, read, tmp_path, monkeypatch, rng):
    monkeypatch.setattr(tar_stream, "READ", read)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for number, size in enumerate([0, 1, 511, 512, 513, 70_000]):
            name = f"{'folder/' * (number * 20)}caf\u00e9 {number}.txt"
            if form == tarfile.USTAR_FORMAT:
                name = f"{'folder/' * (number * 4)}{number}.txt"
            info = tarfile.TarInfo(name)
            info.size, info.mtime = size, 1.5
            archive.addfile(info, io.BytesIO(rng.bytes(size)))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "a" * 200 if form != tarfile.USTAR_FORMAT else "a"
        archive.addfile(link)
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    data = buffer.getvalue()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        wanted = []
        for info in archive:
            content = archive.extractfile(info) if info.isreg() else None
            wanted.append((info.name, info.isreg(), content.read() if content else b""))
    stream = stream_of(data)
    assert [(found.name.rstrip("/"), found.regular, stream.content()) for found in stream] == wanted
    assert [found.name.rstrip("/") for found in stream_of(data)] == [name for name, _, _ in wanted]


def test_the_limits_are_exact():
    data = member("a", bytes(600)) + END
    assert [found.size for found in stream_of(data, len(data))] == [600]
    with pytest.raises(OverLimit, match="unpacks to more than 0 MB"):
        list(stream_of(data, len(data) - 1))
    with pytest.raises(BadTar, match="unexpected end of data"):
        list(stream_of(data[:1000]))
    with pytest.raises(BadTar, match="truncated header"):
        list(stream_of(data[: 512 + 1024 + 100]))
    changed = bytearray(member("a", b"x") * 2)
    changed[1024 + 5] ^= 1
    with pytest.raises(BadTar, match="damaged header"):
        list(stream_of(bytes(changed)))
