"""Lines of files, pipes and standard input, as people have them."""

from __future__ import annotations

import gzip
import io
import os
import threading
import warnings
from pathlib import Path

import pytest

from core.data import text_files
from core.data.sources.paired_files import open_lines as open_pair
from core.data.text_files import StreamLines, TextLines, open_lines
from core.errors import Note, UserError
from tests.conftest import fresh_rng, one_line

CHINESE = "\u8fd9\u90e8\u7535\u5f71\u5f88\u597d\u770b"


@pytest.fixture(params=["file", "gz", "pipe"])
def lines_of(request, tmp_path):
    """A function that reads bytes as lines of a file, of a .gz or of a stream, and returns them with the notes."""

    def read(data: bytes, requested: str = "utf-8") -> tuple[list[str], list[str]]:
        path = tmp_path / ("t.txt.gz" if request.param == "gz" else "t.txt")
        path.write_bytes(gzip.compress(data) if request.param == "gz" else data)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            lines = (
                StreamLines(io.BytesIO(data), "t", requested) if request.param == "pipe" else TextLines(path, requested)
            )
            found = list(lines)
        assert all(issubclass(one.category, Note) for one in seen)
        return found, [str(one.message).partition(": ")[2] for one in seen]

    return read


@pytest.mark.parametrize(
    ("encoding", "requested", "note"),
    [
        ("utf-8", "utf-8", None),
        ("utf-8-sig", "utf-8", None),
        ("utf-8-sig", "gb18030", "read as UTF-8 (its byte order mark)"),
        ("utf-8", "gb18030", "read as UTF-8 (valid UTF-8)"),
        ("gb18030", "gb18030", None),
        ("gb18030", "utf-8", "read as GB18030 (guessed, as it is not UTF-8)"),
        ("utf-16", "utf-8", "read as UTF-16 (its byte order mark)"),
        ("utf-16", "utf-16", None),
        ("utf-16-le", "utf-16", None),
        ("utf-16-be", "utf-16", "read as UTF-16-BE (its byte order)"),
        ("utf-32", "gb18030", "read as UTF-32 (its byte order mark)"),
    ],
)
def test_lines_in_any_encoding(lines_of, encoding, requested, note, monkeypatch):
    rng = fresh_rng()
    monkeypatch.setattr(text_files, "BLOCK", int(rng.choice([64, 101, 1 << 20])))
    text = [f"{CHINESE}{number} a\x85b\u2028c \U0001f602" for number in range(50)]
    expected = [line + end for line, end in zip(text, (["\r\n", "\n"] * 25)[:-1] + [""], strict=True)]
    found, notes = lines_of("".join(expected).encode(encoding), requested)
    assert found == expected and notes == ([note] if note else [])


@pytest.mark.parametrize("requested", ["utf-8", "utf-16", "gb18030"])
def test_empty_files(lines_of, requested):
    for data in (b"", "".encode("utf-8-sig"), "".encode("utf-16"), "".encode("utf-32")):
        assert "".join(lines_of(data, requested)[0]) == ""
    assert lines_of(b"\n\n", requested)[0] == ["\n", "\n"]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_block_of_a_byte_order_mark_alone_is_not_the_end(tmp_path, monkeypatch, size):
    """A reader takes an empty block for the end of the text."""
    monkeypatch.setattr(text_files, "BLOCK", size)
    path = tmp_path / "t.txt"
    path.write_bytes(f"\ufeffa\n{CHINESE}".encode())
    blocks = list(TextLines(path, "utf-8").blocks())
    assert all(blocks) and "".join(blocks) == f"a\n{CHINESE}"


def test_ascii_before_other_bytes(lines_of, monkeypatch):
    monkeypatch.setattr(text_files, "BLOCK", 100)
    text = "plain text\n" * 100 + CHINESE + "\n" + "plain\n" * 40
    for encoding in ("utf-8", "gb18030"):
        assert "".join(lines_of(text.encode(encoding), "gb18030")[0]) == text


def test_a_damaged_line_is_named(lines_of):
    rng = fresh_rng()
    number = int(rng.integers(1, 40_000))
    rows = [f"{CHINESE} {row}\n".encode() for row in range(40_000)]
    rows[number - 1] = b"ab\xff" + rows[number - 1]
    for requested in ("utf-8", "gb18030"):
        with pytest.raises(UserError) as error:
            lines_of(b"".join(rows), requested)
        assert f"line {number}: not UTF-8 at byte 2 of the line: convert it" in one_line(error)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_damaged_utf_16(lines_of, encoding):
    text = f"one\n{CHINESE}\nthree"
    with pytest.raises(UserError) as error:
        lines_of(text.encode(encoding)[:-1], "utf-32" if encoding == "utf-32" else "utf-16")
    assert "line 3: not UTF-" in one_line(error) and "byte" not in one_line(error)
    if encoding != "utf-32":
        surrogate = text.encode(encoding).replace(
            "\u5f71".encode(encoding)[-2:], "\ud800".encode(encoding, "surrogatepass")[-2:]
        )
        with pytest.raises(UserError) as error:
            lines_of(surrogate, "utf-16")
        assert "line 2: not UTF-16" in one_line(error)


@pytest.mark.parametrize("data", [b"a\nb\0c\n", f"{CHINESE}\nb\0c\n".encode(), "a\nb\0\n".encode("utf-16")])
@pytest.mark.parametrize("requested", ["utf-8", "gb18030"])
def test_nul(lines_of, data, requested):
    with pytest.raises(UserError) as error:
        lines_of(data, requested)
    assert "line 2: a NUL byte" in one_line(error)


def test_a_line_that_is_too_long(lines_of, monkeypatch):
    monkeypatch.setattr(text_files, "LONGEST_LINE", 1000)
    assert len(lines_of(b"a" * 998 + b"\nb")[0]) == 2
    for text in ("a\n" + "b" * 1000, "a\n" + "b" * 5000 + "\nc\n"):
        for encoding in ("utf-8", "utf-16"):
            with pytest.raises(UserError) as error:
                lines_of(text.encode(encoding))
            assert "line 2: a line of more than 1,000 bytes" in one_line(error)


def test_lines_that_end_in_cr_alone(lines_of):
    with pytest.raises(UserError) as error:
        lines_of(b"a\rb\r")
    assert "CR alone" in one_line(error)


def test_a_damaged_gz(tmp_path):
    packed = gzip.compress(os.urandom(5000).hex().encode())
    for data in (packed[:-20], packed[:50] + b"\0" * 60 + packed[110:]):
        (tmp_path / "t.gz").write_bytes(data)
        with pytest.raises(UserError) as error:
            list(TextLines(tmp_path / "t.gz", "utf-8"))
        assert "truncated or damaged" in one_line(error)
    (tmp_path / "t.gz").write_bytes(b"no gz")
    assert list(TextLines(tmp_path / "t.gz", "utf-8")) == ["no gz"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (".", "a folder, not a file"),
        ("none.txt", "No such file"),
        ("/dev/zero", "a device, not a file"),
        ("/dev/null", "a device, not a file"),
    ],
)
def test_what_is_no_file(tmp_path, monkeypatch, path, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        open_lines(Path(path), "utf-8")
    assert one_line(error).startswith(f"{path}: ") and says in one_line(error)


@pytest.mark.parametrize("name", ["pipe", "pipe.gz"])
def test_a_named_pipe(tmp_path, name):
    text = "".join(f"{CHINESE} {number}\n" for number in range(20_000))
    os.mkfifo(tmp_path / name)
    data = gzip.compress(text.encode()) if name.endswith("gz") else text.encode()
    writer = threading.Thread(target=(tmp_path / name).write_bytes, args=(data,))
    writer.start()
    assert "".join(open_lines(tmp_path / name, "utf-8")) == text
    writer.join()


def test_an_endless_line_is_refused():
    with Path("/dev/zero").open("rb") as zero, pytest.raises(UserError) as error:
        next(iter(StreamLines(zero, "standard input", "utf-8")))
    assert "standard input: line 1: a line of more than" in one_line(error)


def test_paired_files_in_other_encodings(tmp_path):
    (tmp_path / "pos.txt").write_bytes(f"{CHINESE}\n{CHINESE}\n".encode("utf-8-sig"))
    (tmp_path / "neg.txt").write_bytes(f"{CHINESE}\r\n{CHINESE}\n".encode("utf-16"))
    with pytest.warns(Note, match="UTF-16"):
        found = list(open_pair(str(tmp_path)).documents())
    assert [(own.name, own.text) for own in found] == [
        *[("neg/1", CHINESE), ("neg/2", CHINESE), ("pos/1", CHINESE), ("pos/2", CHINESE)]
    ]
