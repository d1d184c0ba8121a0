"""The encoding of a text file: by its byte order mark, by its bytes, as requested, or guessed."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from core.data.encoding_guess import guess_encoding
from core.errors import UserError

MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks and their codecs; UTF-32 comes first, as its mark begins with that of UTF-16."""

SAMPLE = 1 << 16
"""Bytes of lines with other bytes than ASCII from which an encoding is guessed."""

DAMAGED = 1 / 3
"""Largest share of invalid characters in damaged UTF-8. With more, a text is in another encoding."""

INVALID = "\udcff"
"""Stands for bytes that a wide encoding cannot contain; no UTF-8 contains it, so decoding its line fails."""

codecs.register_error("seqtwin-invalid", lambda error: (INVALID, error.end))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Decoding:
    """How to decode a file: a Python codec, and why it is not the requested one ("" if it is)."""

    encoding: str
    reason: str = ""

    @property
    def name(self) -> str:
        """Return the name to show."""
        return self.encoding.removesuffix("-sig").upper()


def check_encoding(encoding: str) -> None:
    """Raise UserError for an encoding that Python does not know, or that is no encoding of text files.

    Such a one extends ASCII or is UTF-16 or UTF-32, and cannot encode surrogates.
    """
    try:
        half = "\ud800".encode(encoding, "ignore").decode(encoding)
        known = not half and (is_wide(encoding) or b"\n,x".decode(encoding) == "\n,x")
    except (LookupError, ValueError):  # UnicodeError is a ValueError
        known = False
    if not known:
        raise UserError(f"encoding {encoding[:40]!r}: unknown: use utf-8, utf-16, gb18030 or cp1252")


def is_wide(encoding: str) -> bool:
    """Return whether a line feed is two or four bytes: in UTF-16 and UTF-32."""
    return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


def detect_encoding(blocks: Iterable[bytes], requested: str, whole: bool = True) -> Decoding:
    """Return how to decode these bytes; without `whole` they are the beginning of more.

    A byte order mark wins. Bytes that are valid UTF-8 and not all ASCII are UTF-8: other encodings hardly ever form it
    by chance. Damaged UTF-8 is UTF-8 too, and its reader names the invalid line. Otherwise the bytes are in the
    `requested` encoding if they can be. If they cannot, the encoding is guessed. Raises UserError for an unknown
    `requested` encoding.
    """
    check_encoding(requested)
    stream = iter(blocks)
    first = next(stream, b"")
    wanted = codecs.lookup(requested).name
    for mark, encoding in MARKS:
        if first.startswith(mark):
            same = wanted in (encoding.removesuffix("-sig"), encoding)
            return Decoding(encoding, "" if same else "its byte order mark")
    # Python's decoders need a mark for these, or take it as little-endian.
    requested = {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}.get(wanted, requested)
    facts = _Bytes(requested)
    for block in chain([first], stream):
        facts.add(block)
    facts.end(whole)
    if facts.zeros:
        return _with_zeros(facts, requested)
    as_utf8 = Decoding(requested) if wanted in ("utf-8", "utf-8-sig") else Decoding("utf-8", "valid UTF-8")
    if facts.ascii:
        return Decoding("utf-8", "ASCII") if is_wide(requested) and facts.size else Decoding(requested)
    if facts.utf8:
        return as_utf8
    if _is_damaged_utf8(bytes(facts.sample)):
        return Decoding(as_utf8.encoding)
    if facts.requested:
        return Decoding(requested)
    guess = guess_encoding(bytes(facts.sample))
    return Decoding(guess, f"guessed, as it is not {requested.upper()}") if guess else Decoding(requested)


def _is_damaged_utf8(sample: bytes) -> bool:
    """Return whether most lines, or most characters beyond ASCII, are valid UTF-8."""
    text = sample.decode("utf-8", "replace")
    lines = text.split("\n")
    valid = sum("\ufffd" not in line for line in lines if not line.isascii())
    invalid = sum("\ufffd" in line for line in lines)
    return valid > max(invalid, 1) or text.count("\ufffd") <= DAMAGED * sum(not own.isascii() for own in text)


def _with_zeros(facts: _Bytes, requested: str) -> Decoding:
    """Return how to decode bytes with NUL: as UTF-16 without a mark, or so that the reader names the line."""
    sample = bytes(facts.head)
    high, low = sample[::2].count(0), sample[1::2].count(0)
    order = "utf-16-be" if high > low else "utf-16-le"
    if is_wide(requested):
        swapped = requested == "utf-16-le" and order == "utf-16-be"
        return Decoding(order, "its byte order") if swapped else Decoding(requested)
    if facts.valid[order] and max(high, low) > 0.25 * len(sample) and not min(high, low):
        return Decoding(order, f"guessed, as it is not {requested.upper()}")
    other = facts.utf8 and not facts.ascii and codecs.lookup(requested).name not in ("utf-8", "utf-8-sig")
    return Decoding("utf-8", "valid UTF-8") if other else Decoding(requested)


class _Bytes:
    """What the bytes of a file are: ASCII, UTF-8, the requested encoding, UTF-16; head and sample for guessing."""

    def __init__(self, requested: str) -> None:
        self.ascii, self.zeros, self.size = True, False, 0
        self.head, self.sample, self._rest = bytearray(), bytearray(), b""
        names = {"utf-8", requested, "utf-16-le", "utf-16-be"}
        self._requested = requested
        self.valid = dict.fromkeys(names, True)
        self._decoders = {name: codecs.getincrementaldecoder(name)() for name in names}

    @property
    def utf8(self) -> bool:
        return self.valid["utf-8"]

    @property
    def requested(self) -> bool:
        return self.valid[self._requested]

    def add(self, block: bytes) -> None:
        self.size += len(block)
        plain = block.isascii()
        self.ascii = self.ascii and plain
        self.zeros = self.zeros or b"\0" in block
        if len(self.head) < SAMPLE:
            self.head += block[:SAMPLE]
        elif not self.zeros:  # UTF-16 would have a zero in every space and line feed
            self.valid |= dict.fromkeys({"utf-16-le", "utf-16-be"} - {self._requested}, False)
        if len(self.sample) < SAMPLE:
            self._take_sample(block, plain)
        self._decode(block, False)

    def end(self, whole: bool) -> None:
        """Complete the facts after the last block."""
        if not self._rest.isascii() and len(self.sample) < SAMPLE:
            self.sample += self._rest
        if whole:
            self._decode(b"", True)

    def _take_sample(self, block: bytes, plain: bool) -> None:
        """Take whole lines with other bytes than ASCII."""
        if plain and self._rest.isascii():
            self._rest = block[block.rfind(b"\n") + 1 :][:SAMPLE]
            return
        *lines, rest = (self._rest + block).split(b"\n")
        self._rest = rest[:SAMPLE]
        for line in lines:
            if not line.isascii() and len(self.sample) < SAMPLE:
                self.sample += line[:SAMPLE] + b"\n"

    def _decode(self, block: bytes, final: bool) -> None:
        for name, decoder in self._decoders.items():
            if self.valid[name]:
                try:
                    decoder.decode(block, final)
                except UnicodeError:
                    self.valid[name] = False


class _Joined(io.RawIOBase):
    """The bytes of `blocks`, one after the other."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._rest = blocks, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = memoryview(block)
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def joined(blocks: Iterator[bytes]) -> io.BufferedReader:
    """Return a stream of blocks, of which each is read when it is needed."""
    return io.BufferedReader(_Joined(blocks), 1 << 16)


def recoded(blocks: Iterable[bytes], encoding: str) -> io.BufferedReader:
    """Return a stream that reads as UTF-8 what `blocks` hold in a wide encoding, so that lines end in one byte.

    Invalid bytes become `INVALID`.
    """
    decoder = codecs.getincrementaldecoder(encoding)("seqtwin-invalid")
    texts = chain((decoder.decode(block) for block in blocks), (decoder.decode(b"", True) for _ in range(1)))
    return joined(text.encode("utf-8", "surrogatepass") for text in texts)
