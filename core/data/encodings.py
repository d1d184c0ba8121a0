"""The encoding of a text file: by its byte order mark, by its bytes, as requested, or guessed."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from core.errors import UserError

MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks and their codecs; UTF-32 comes first, as its mark begins with that of UTF-16."""

CANDIDATES = ("gb18030", "big5", "cp932", "cp949", "cp1252", "cp1251")
"""Encodings to guess from: Chinese, Japanese, Korean, Western, Cyrillic. More of them make short texts ambiguous."""

SAMPLE = 1 << 16
"""Bytes of lines with other bytes than ASCII from which an encoding is guessed."""

DAMAGED = 0.1
"""Largest share of invalid characters in damaged UTF-8. With more, a text is in another encoding."""


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


def detect_encoding(blocks: Iterable[bytes], requested: str) -> Decoding:
    """Return how to decode these bytes.

    A byte order mark wins. Bytes that are valid UTF-8 and not all ASCII are UTF-8: other encodings hardly ever form it
    by chance. Otherwise the bytes are in the `requested` encoding if they can be. If they cannot, the encoding is
    guessed by charset-normalizer, except for damaged UTF-8, whose reader names the invalid line. Raises UserError for
    an unknown `requested` encoding.
    """
    check_encoding(requested)
    stream = iter(blocks)
    first = next(stream, b"")
    for mark, encoding in MARKS:
        if first.startswith(mark):
            same = codecs.lookup(requested).name in (encoding.removesuffix("-sig"), encoding)
            return Decoding(encoding, "" if same else "its byte order mark")
    facts = _Bytes(requested)
    for block in chain([first], stream):
        facts.add(block)
    facts.end()
    asked_utf8 = codecs.lookup(requested).name in ("utf-8", "utf-8-sig")
    if facts.ascii and not facts.zeros:
        return Decoding("utf-8", "ASCII") if is_wide(requested) and facts.size else Decoding(requested)
    if facts.utf8 and not facts.zeros:
        return Decoding(requested) if asked_utf8 else Decoding("utf-8", "valid UTF-8")
    if facts.requested and not (asked_utf8 and facts.zeros):
        return Decoding(requested)
    sample = bytes(facts.sample)
    if facts.zeros:
        return _wide(sample, requested)
    if _is_damaged_utf8(sample):
        return Decoding(requested) if asked_utf8 else Decoding("utf-8", "mostly valid UTF-8")
    from charset_normalizer import from_bytes

    found = from_bytes(sample, cp_isolation=list(CANDIDATES)).best()
    if found is None:
        return Decoding(requested)
    return Decoding(found.encoding, f"guessed, as it is not {requested.upper()}")


def _is_damaged_utf8(sample: bytes) -> bool:
    """Return whether most lines, or nearly all characters, are valid UTF-8."""
    text = sample.decode("utf-8", "replace")
    lines = text.splitlines()
    valid = sum("\ufffd" not in line for line in lines)
    return 2 * valid >= len(lines) or text.count("\ufffd") <= DAMAGED * sum(not own.isascii() for own in text)


def _wide(sample: bytes, requested: str) -> Decoding:
    """Return UTF-16 without a mark if every other byte is mostly zero, as in Western texts."""
    for place, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        own, other = sample[place::2], sample[1 - place :: 2]
        if own.count(0) > 0.5 * len(own) and not other.count(0):
            return Decoding(encoding, f"guessed, as it is not {requested.upper()}")
    return Decoding(requested)


class _Bytes:
    """What the bytes of a file are: ASCII, UTF-8, the requested encoding; and a sample for guessing."""

    def __init__(self, requested: str) -> None:
        self.ascii = self.utf8 = self.requested = True
        self.zeros, self.size, self.sample = False, 0, bytearray()
        self._decoders = {name: codecs.getincrementaldecoder(name)() for name in {"utf-8", requested}}
        self._names = {"utf8": "utf-8", "requested": requested}

    def add(self, block: bytes) -> None:
        self.size += len(block)
        plain = block.isascii()
        self.ascii &= plain
        self.zeros |= b"\0" in block
        if len(self.sample) < SAMPLE and (self.zeros or not plain):
            lines = [block] if self.zeros else [line for line in block.splitlines(True) if not line.isascii()]
            for line in lines:
                if len(self.sample) >= SAMPLE:
                    break
                self.sample += line[:SAMPLE]
        self._decode(block, False)

    def end(self) -> None:
        self._decode(b"", True)

    def _decode(self, block: bytes, final: bool) -> None:
        valid = {}
        for field, name in self._names.items():
            if not getattr(self, field):
                continue
            if name not in valid:
                try:
                    self._decoders[name].decode(block, final)
                    valid[name] = True
                except UnicodeError:
                    valid[name] = False
            setattr(self, field, valid[name])


class Recoder:
    """A binary stream that reads as UTF-8 what `file` holds in a wide encoding, so that lines end in one byte."""

    def __init__(self, blocks: Iterator[bytes], encoding: str) -> None:
        self._blocks, self._decoder, self._rest = blocks, codecs.getincrementaldecoder(encoding)(), b""

    def readline(self, limit: int) -> bytes:
        """Return the next line with its line feed, at most about `limit` bytes, b"" at the end."""
        parts: list[bytes] = []
        size = 0
        while True:
            head, feed, rest = self._rest.partition(b"\n")
            parts.append(head + feed)
            size += len(parts[-1])
            self._rest = rest
            if feed or size >= limit:
                return b"".join(parts)
            block = next(self._blocks, None)
            if block is None:
                self._rest = self._decoder.decode(b"", True).encode("utf-8", "replace")
                if not self._rest:
                    return b"".join(parts)
            else:
                self._rest = self._decoder.decode(block).encode("utf-8", "replace")
