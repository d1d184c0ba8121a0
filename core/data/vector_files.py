"""Streaming reader of word vectors in the text formats of GloVe and word2vec.

Files are plain, .gz or inside a .zip. A line is a word and `dim` numbers, separated by single spaces. word2vec and
fastText add a header line `COUNT DIM`. Memory use is one block of the file and the requested vectors.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.data.download import Progress, no_progress
from core.data.packed_text import Stream, name_of, opened
from core.data.vector_binary import BinaryVectors, is_binary
from core.errors import UserError

BLOCK = 1 << 20
"""Bytes per read, and the maximum length of a line in bytes."""

CHUNK = 4096
"""Lines that are parsed at once."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
FORMATS = "give vectors in GloVe's or word2vec's format"


@dataclass(frozen=True)
class VectorText:
    """A vector file with a checked beginning; `count` is None without a word2vec header."""

    path: Path
    member: str | None
    dim: int
    count: int | None

    @property
    def name(self) -> str:
        return name_of(self.path, self.member)

    def read(self, words: set[str], progress: Progress = no_progress) -> tuple[dict[str, np.ndarray], str]:
        """Return the vectors [dim] float32 of the `words` in the file, and a fingerprint.

        The first vector of a repeated word is used. The fingerprint is that of the uncompressed text. `words` have no
        spaces. The numbers of other words are counted but not parsed. Raises UserError naming the line: wrong number of
        components, not a number, NaN or infinity, a word that is not UTF-8, premature end of file; or naming the damage
        of a compressed file.
        """
        wanted = {word.encode("utf-8"): word for word in words}
        found: dict[str, np.ndarray] = {}
        digest = hashlib.sha256()
        for first, lines in self._chunks(digest.update, progress):
            for number, line in enumerate(lines, first):
                if not self._is_usable(line, number):
                    continue
                end = line.index(b" ")
                word = wanted.pop(line[:end], None)
                if word is not None:
                    found[word] = _numbers(line[end + 1 :], f"{self.name}: line {number}")
                elif not line.isascii():
                    _check_utf8(line[:end], f"{self.name}: line {number}")
        return found, f"sha256:{digest.hexdigest()}"

    def read_all(
        self, update: Callable[[bytes], object], progress: Progress = no_progress
    ) -> Iterator[tuple[list[str], np.ndarray]]:
        """Yield all words and their vectors [n, dim] float32, in the order of the file, some lines at a time.

        Words that contain spaces are left out; repeated words are not. `update` receives the uncompressed bytes: the
        SHA-256 of them is the fingerprint of `read`. Raises UserError like `read`, also for the numbers.
        """
        for first, lines in self._chunks(update, progress):
            numbered = [(number, line) for number, line in enumerate(lines, first) if self._is_usable(line, number)]
            if not numbered:
                continue
            words, texts = zip(*(line.split(b" ", 1) for _, line in numbered), strict=True)
            values = _matrix(texts, self.dim)
            if values is None:
                where = [f"{self.name}: line {number}" for number, _ in numbered]
                values = np.stack([_numbers(*row) for row in zip(texts, where, strict=True)])
            for (number, line), word in zip(numbered, words, strict=True):
                if not line.isascii():
                    _check_utf8(word, f"{self.name}: line {number}")
            yield [word.decode("utf-8") for word in words], values

    def _is_usable(self, line: bytes, number: int) -> bool:
        """Return whether the word has no spaces, as a few in GloVe's larger files have.

        Raises UserError for a wrong number of components.
        """
        if line.count(b" ") == self.dim:
            return True
        width = _width(line)
        if width != self.dim:
            raise UserError(
                f"{self.name}: line {number} has {width} numbers after its word, expected {self.dim} by line 1:"
                f" download or copy the file again, or remove the line"
            )
        return False

    def _chunks(self, update: Callable[[bytes], object], progress: Progress) -> Iterator[tuple[int, list[bytes]]]:
        """Yield up to `CHUNK` lines of vectors, without line endings, after the number of the first.

        Raises UserError: damaged file, or another number of vectors than the header says.
        """
        number, skipped = 0, int(self.count is not None)
        with opened(self.path, self.member) as (stream, tell, size):
            for block in _blocks(stream, update, self.name):
                for start in range(0, len(block), CHUNK):
                    lines = block[start : start + CHUNK]
                    kept = lines[skipped:] if number == 0 else lines
                    if kept:
                        yield number + 1 + len(lines) - len(kept), kept
                    number += len(lines)
                    progress(f"reading {self.path.name}", tell(), size)
            progress(f"reading {self.path.name}", size, size)
        if self.count is not None and number - skipped != self.count:
            advice = "download or copy the file again" if number - skipped < self.count else "correct line 1"
            raise UserError(
                f"{self.name}: ends at line {number} with {number - skipped:,} vectors, expected {self.count:,} by"
                f" line 1: {advice}"
            )


def open_vector_file(path: Path, member: str | None) -> VectorText | BinaryVectors:
    """Check the beginning of a file, or of a zip's `member` (None: its only text file).

    Raises UserError: the file cannot be read, is empty, damaged or of another kind; line 1 is not a word with numbers;
    a zip with none or several text files and `member` None; no such member.
    """
    with opened(path, member) as (stream, _, _):
        beginning = stream.read(BLOCK)
    name = name_of(path, member)
    if not beginning:
        raise UserError(f"{name}: empty: {FORMATS}")
    first, _, rest = beginning.removeprefix(BYTE_ORDER_MARK).partition(b"\n")
    header = re.fullmatch(rb"(\d{1,18}) (\d{1,9})", first.rstrip(b" \r"))
    binary = header is not None and is_binary(rest[:4096])
    if b"\0" in beginning and not binary:
        raise UserError(f"{name}: not a text file: {FORMATS}")
    count, dim = (int(part) for part in header.groups()) if header else (None, _width(first.rstrip(b" \r")))
    if dim > BLOCK // 2:
        raise UserError(
            f"{name}: line 1 claims {dim:,} numbers per word, but a line has at most {BLOCK:,} bytes: {FORMATS}"
        )
    if not dim or count == 0:
        raise UserError(f"{name}: line 1 is neither a word with its numbers nor COUNT DIM: {FORMATS}")
    return BinaryVectors(path, member, dim, count) if binary and count else VectorText(path, member, dim, count)


def _blocks(stream: Stream, update: Callable[[bytes], object], name: str) -> Iterator[list[bytes]]:
    """Yield the lines of a block, without line endings, to the end of the stream, where checksums are verified."""
    rest, number, first = b"", 0, True
    while block := stream.read(BLOCK):
        update(block)
        if first:
            block, first = block.removeprefix(BYTE_ORDER_MARK), False
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        number += len(lines)
        if len(rest) > BLOCK:
            raise UserError(f"{name}: line {number + 1} is longer than {BLOCK:,} bytes: {FORMATS}")
        # The original word2vec program ends each line with a space.
        yield [line.rstrip(b" \r") for line in lines]
    if rest:
        # A truncated last number would still parse as a number.
        raise UserError(
            f"{name}: the last line, {number + 1}, has no line ending, so the file may be truncated: download or copy"
            f" it again, or add a final line break if it is complete"
        )


def _width(line: bytes) -> int:
    """Return how many fields at the end of a line are numbers, not counting its first field."""
    width = 0
    for field in reversed(line.split(b" ")[1:]):
        try:
            float(field)
        except ValueError:
            break
        width += 1
    return width


def _numbers(text: bytes, where: str) -> np.ndarray:
    """Parse a vector [dim] float32. Raises UserError, naming `where`."""
    values = []
    for field in text.split(b" "):
        try:
            values.append(float(field))
        except ValueError:
            shown = field[:40].decode("utf-8", "replace")
            raise UserError(
                f"{where}: {shown!r} is not a number: download the file again, or remove the line"
            ) from None
    with np.errstate(over="ignore"):
        vector = np.array(values, dtype=np.float32)
    if not np.isfinite(vector).all():
        shown = text.split(b" ")[int(np.flatnonzero(~np.isfinite(vector))[0])][:40].decode("utf-8", "replace").strip()
        raise UserError(f"{where}: {shown} is not a finite float32: download the file again, or remove the line")
    return vector


def _matrix(texts: Sequence[bytes], dim: int) -> np.ndarray | None:
    """Parse vectors [n, dim] float32, or return None if `_numbers` must read them or tell what is wrong.

    Every text has `dim` fields between single spaces. NumPy parses faster than `float`, but takes any white space for a
    separator: texts with other white space are left to `_numbers`. Then a field is one number or an error, or it is
    empty, which the count shows.
    """
    joined = b" ".join(texts)
    if len(joined.translate(None, b"\t\r\v\f")) < len(joined):
        return None
    with warnings.catch_warnings():
        # Before NumPy 2.3 a wrong number is a DeprecationWarning.
        warnings.simplefilter("error", DeprecationWarning)
        try:
            values = np.fromstring(joined, dtype=np.float32, sep=" ")
        except (ValueError, DeprecationWarning):
            return None
    is_right = len(values) == len(texts) * dim and np.isfinite(values).all()
    return values.reshape(len(texts), dim) if is_right else None


def _check_utf8(word: bytes, where: str) -> None:
    try:
        word.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where}: the word is not UTF-8 at byte {error.start}: convert the file, e.g. with iconv -t utf-8"
        ) from None
