"""Streaming reader of word2vec's binary format.

After a line `COUNT DIM`, each vector is a word, a space and `dim` float32 numbers in little-endian order. The original
program writes a line feed after each vector, gensim does not.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.data.download import Progress, no_progress
from core.data.packed_text import name_of, opened
from core.errors import UserError

BLOCK = 1 << 20
"""Bytes per read, and the maximum length of a word in bytes."""
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
ADVICE = "download or copy the file again"


@dataclass(frozen=True)
class BinaryVectors:
    """A file of `count` vectors [dim], of which line 1 has been read."""

    path: Path
    member: str | None
    dim: int
    count: int

    @property
    def name(self) -> str:
        return name_of(self.path, self.member)

    def read(self, words: set[str], progress: Progress = no_progress) -> tuple[dict[str, np.ndarray], str]:
        """Return the vectors of `words` and a fingerprint, as `VectorText.read`. Raises UserError like `read_all`."""
        found: dict[str, np.ndarray] = {}
        digest = hashlib.sha256()
        for batch, values in self.read_all(digest.update, progress):
            for word, vector in zip(batch, values, strict=True):
                if word in words and word not in found:
                    found[word] = vector.copy()
        return found, f"sha256:{digest.hexdigest()}"

    def read_all(
        self, update: Callable[[bytes], object], progress: Progress = no_progress
    ) -> Iterator[tuple[list[str], np.ndarray]]:
        """Yield all words and their vectors [n, dim] float32, as `VectorText.read_all`.

        Raises UserError: another number of vectors than line 1 says, a word that is not UTF-8 or too long, NaN or
        infinity, or damage of a compressed file.
        """
        size, rest, number, started = 4 * self.dim, b"", 0, False
        with opened(self.path, self.member) as (stream, tell, total):
            while block := stream.read(max(BLOCK, size)):
                update(block)
                rest += block
                if not started and b"\n" not in rest:
                    continue
                place, started = 0 if started else rest.index(b"\n") + 1, True
                words, parts = [], []
                while number + len(words) < self.count:
                    space = rest.find(b" ", place)
                    if space < 0 or space + 1 + size > len(rest):
                        break
                    words.append(self._word(rest[place:space], number + len(words) + 1))
                    parts.append(rest[space + 1 : space + 1 + size])
                    place = space + 1 + size
                rest = rest[place:]
                if len(rest) > 2 * BLOCK + size and number + len(words) < self.count:
                    raise UserError(
                        f"{self.name}: word {number + len(words) + 1} has more than {BLOCK:,} bytes: {ADVICE}"
                    )
                if words:
                    yield words, self._values(parts, number)
                    number += len(words)
                progress(f"reading {self.path.name}", tell(), total)
            progress(f"reading {self.path.name}", total, total)
        if number < self.count:
            raise UserError(f"{self.name}: ends after {number:,} vectors, expected {self.count:,} by line 1: {ADVICE}")
        if rest.strip(b"\n"):
            raise UserError(f"{self.name}: has more bytes than the {number:,} vectors of line 1: {ADVICE}")

    def _word(self, found: bytes, number: int) -> str:
        try:
            return found.lstrip(b"\n").decode("utf-8")
        except UnicodeDecodeError:
            raise UserError(f"{self.name}: word {number} is not UTF-8: {ADVICE}, or another one") from None

    def _values(self, parts: list[bytes], before: int) -> np.ndarray:
        values = (
            np.frombuffer(b"".join(parts), dtype="<f4").reshape(len(parts), self.dim).astype(np.float32, copy=False)
        )
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            raise UserError(f"{self.name}: vector {before + int(finite.argmin()) + 1} has NaN or infinity: {ADVICE}")
        return values


def is_binary(beginning: bytes) -> bool:
    """Return whether bytes after line 1 hold control bytes or invalid UTF-8."""
    if CONTROL.search(beginning):
        return True
    try:
        beginning.decode("utf-8")
    except UnicodeDecodeError as error:
        # The excerpt may end within a character.
        return error.start < len(beginning) - 4
    return False
