"""A text file of word vectors, in GloVe's or word2vec's format, read as a stream: plain, in gzip, or inside a zip.

A line is a word and `dim` numbers, separated by single blanks. word2vec puts `COUNT DIM` before the first one. Memory
holds a block of the file and the vectors that were asked for, however large the file is.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from core.data.download import Progress, no_progress
from core.errors import UserError

BLOCK = 1 << 20
"""Bytes read at once, and the most that a line may have."""

SUFFIXES = (".txt", ".vec")
"""Of the members of a zip that are taken for vectors when none is named."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
DAMAGED = (zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error)
FORMATS = "give vectors in GloVe's or word2vec's text format"


@dataclass(frozen=True)
class VectorText:
    """A file whose first lines have been looked at. `count` is what a word2vec header says, None without one."""

    path: Path
    member: str | None
    dim: int
    count: int | None

    @property
    def name(self) -> str:
        return _name(self.path, self.member)

    def read(self, words: set[str], progress: Progress = no_progress) -> tuple[dict[str, np.ndarray], str]:
        """The vectors [dim] float32 of those of `words` that are in the file, the first where one is there twice; and
        a fingerprint of the text, the same whether it is packed or not.

        No word of `words` holds a blank. The numbers of other lines are counted and not read. Raises UserError naming
        the line: another number of numbers, not a number, NaN or infinity, a word that is not UTF-8, the file's end
        before its time; or what damage was found in a packed file.
        """
        wanted = {word.encode("utf-8"): word for word in words}
        found: dict[str, np.ndarray] = {}
        digest = hashlib.sha256()
        number, skipped = 0, int(self.count is not None)
        with _opened(self.path, self.member) as (stream, tell, size):
            for number, line in enumerate(_lines(stream, digest.update, self.name), 1):
                if number <= skipped:
                    continue
                if line.count(b" ") != self.dim:
                    # A word with blanks in it, as a few in GloVe's larger files, is none that was asked for.
                    self._check_width(line, number)
                    continue
                end = line.index(b" ")
                word = wanted.pop(line[:end], None)
                if word is not None:
                    found[word] = _numbers(line[end + 1 :], f"{self.name}: line {number}")
                elif not line.isascii():
                    _check_utf8(line[:end], f"{self.name}: line {number}")
                if number % 4096 == 0:
                    progress(f"reading {self.path.name}", tell(), size)
            progress(f"reading {self.path.name}", size, size)
        if self.count is not None and number - skipped != self.count:
            advice = "fetch or copy the file again" if number - skipped < self.count else "correct line 1"
            raise UserError(
                f"{self.name}: ends at line {number}, with {number - skipped:,} vectors, and line 1 announces"
                f" {self.count:,}: {advice}"
            )
        return found, f"sha256:{digest.hexdigest()}"

    def _check_width(self, line: bytes, number: int) -> None:
        width = _width(line)
        if width != self.dim:
            raise UserError(
                f"{self.name}: line {number} has {width} numbers behind its word, and line 1 says {self.dim}:"
                f" fetch or copy the file again, or remove the line"
            )


def open_text(path: Path, member: str | None) -> VectorText:
    """Look at the beginning of a file, or of a zip's `member` (None: its only text file).

    Raises UserError: the file cannot be read, is empty, damaged or binary, or line 1 is no word with its numbers; none
    or several text files in a zip and `member` None, or no such member.
    """
    with _opened(path, member) as (stream, _, _):
        beginning = stream.read(BLOCK)
    name = _name(path, member)
    if not beginning:
        raise UserError(f"{name}: empty: {FORMATS}")
    first, _, rest = beginning.removeprefix(BYTE_ORDER_MARK).partition(b"\n")
    header = re.fullmatch(rb"(\d{1,18}) (\d{1,9})", first.rstrip(b" \r"))
    if header and _is_binary(rest[:4096]):
        raise UserError(
            f"{name}: line 2 is not text: word2vec's binary format is not read: write it as text, as gensim's"
            f" KeyedVectors.load_word2vec_format(PATH, binary=True).save_word2vec_format('vectors.txt') does"
        )
    if b"\0" in beginning:
        raise UserError(f"{name}: not a text file: {FORMATS}")
    count, dim = (int(part) for part in header.groups()) if header else (None, _width(first.rstrip(b" \r")))
    if not dim or count == 0:
        raise UserError(f"{name}: line 1 is neither a word with its numbers nor COUNT DIM: {FORMATS}")
    return VectorText(path, member, dim, count)


@contextmanager
def _opened(path: Path, member: str | None) -> Iterator[tuple[BinaryIO, Callable[[], int], int]]:
    """The text as a stream of bytes; a function that says how far it was read, and how far that goes."""
    name = _name(path, member)
    try:
        with path.open("rb") as raw:
            start = raw.read(2)
            raw.seek(0)
            kind = {b"PK": ".zip", b"\x1f\x8b": ".gz"}.get(start, "")
            said = path.suffix.lower()
            if said in (".zip", ".gz") and said != kind:
                found = "empty" if not start else f"damaged, or no {said} file in spite of its name"
                raise UserError(f"{path}: {found}: fetch or copy it again")
            if member is not None and kind != ".zip":
                raise UserError(f"{path}: not a zip, so it has no member {member}: leave out ::{member}")
            if kind == ".gz":
                with gzip.GzipFile(fileobj=raw) as stream:
                    yield stream, raw.tell, path.stat().st_size
            elif said == ".zip" or (kind == ".zip" and zipfile.is_zipfile(path)):
                with zipfile.ZipFile(raw) as packed:
                    info = _member(packed, path, member)
                    with packed.open(info) as stream:
                        yield stream, stream.tell, info.file_size
            else:
                yield raw, raw.tell, path.stat().st_size
    except DAMAGED as error:
        raise UserError(f"{name}: truncated or damaged ({error}): fetch or copy the file again") from None
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror or error})") from None


def _member(packed: zipfile.ZipFile, path: Path, member: str | None) -> zipfile.ZipInfo:
    files = [info for info in packed.infolist() if not info.is_dir() and not info.filename.startswith("__MACOSX/")]
    if member is None:
        chosen = [info for info in files if info.filename.lower().endswith(SUFFIXES)]
    else:
        chosen = [info for info in files if info.filename == member]
    if len(chosen) != 1:
        shown = ", ".join(info.filename for info in (chosen or files)[:8]) or "no file"
        wrong = f"no member {member}" if member is not None else f"{len(chosen) or 'no'} text files in it"
        raise UserError(f"{path}: {wrong}: name one as {path.name}::MEMBER (it holds {shown})")
    if chosen[0].flag_bits & 1 or chosen[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(
            f"{path}: {chosen[0].filename} is encrypted or packed in a way that is not read: unpack the zip"
        )
    return chosen[0]


def _lines(stream: BinaryIO, update: Callable[[bytes], None], name: str) -> Iterator[bytes]:
    """Lines without their ends, to the end of the stream: only there are a packed file's checksums looked at."""
    rest, number, first = b"", 0, True
    while block := stream.read(BLOCK):
        update(block)
        if first:
            block, first = block.removeprefix(BYTE_ORDER_MARK), False
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        if len(rest) > BLOCK:
            raise UserError(f"{name}: line {number + len(lines) + 1} is longer than {BLOCK:,} bytes: {FORMATS}")
        for line in lines:
            # word2vec's own program ends each line in a blank.
            yield line.rstrip(b" \r")
        number += len(lines)
    if rest:
        # The last number may have lost digits, and would still be one.
        raise UserError(
            f"{name}: line {number + 1}, the last, has no line end: the file was cut: fetch or copy it again (where it"
            f" is whole, end it in a line break)"
        )


def _name(path: Path, member: str | None) -> str:
    return str(path) if member is None else f"{path}::{member}"


def _width(line: bytes) -> int:
    """How many fields at the end of a line are numbers, its first field aside."""
    width = 0
    for field in reversed(line.split(b" ")[1:]):
        try:
            float(field)
        except ValueError:
            break
        width += 1
    return width


def _numbers(text: bytes, where: str) -> np.ndarray:
    """[dim] float32"""
    values = []
    for field in text.split(b" "):
        try:
            values.append(float(field))
        except ValueError:
            shown = field[:40].decode("utf-8", "replace")
            raise UserError(f"{where}: {shown!r} is not a number: fetch the file again, or remove the line") from None
    with np.errstate(over="ignore"):
        vector = np.array(values, dtype=np.float32)
    if not np.isfinite(vector).all():
        shown = text.split(b" ")[int(np.flatnonzero(~np.isfinite(vector))[0])].decode()
        raise UserError(f"{where}: {shown} is not a finite float32: fetch the file again, or remove the line")
    return vector


def _check_utf8(word: bytes, where: str) -> None:
    try:
        word.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where}: the word is not UTF-8 at byte {error.start}: convert the file, as with iconv -t utf-8"
        ) from None


def _is_binary(beginning: bytes) -> bool:
    """Whether what follows a word2vec header is the binary format: it never gets far without one of these."""
    if CONTROL.search(beginning):
        return True
    try:
        beginning.decode("utf-8")
    except UnicodeDecodeError as error:
        # The cut may go through a character.
        return error.start < len(beginning) - 4
    return False
