"""Blocks of a gzip file, large enough that a thread unpacks them while another one reads them.

Python's `gzip` unpacks 8 kB at a time, and holds the interpreter between them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import IO

READ, MOST = 1 << 18, 1 << 20
"""Packed bytes that are read, and most bytes that are unpacked, at a time."""
GZIP = 16 + zlib.MAX_WBITS
"""Window of a gzip file, whose checksum zlib verifies."""


def unpacked(raw: IO[bytes], first: int) -> Iterator[bytes]:
    """Yield the content, in blocks of which the first one has at most `first` bytes.

    Raises EOFError for a truncated file, and zlib.error for a damaged one.
    """
    decoder, packed, most = zlib.decompressobj(GZIP), raw.read(READ), first
    while packed:
        if block := decoder.decompress(packed, most):
            most = MOST
            yield block
        if not decoder.eof:
            packed = decoder.unconsumed_tail or raw.read(READ)
            continue
        packed = decoder.unused_data.lstrip(b"\0")  # padding between the members of a file
        while not packed:
            if not (block := raw.read(READ)):
                return
            packed = block.lstrip(b"\0")
        decoder = zlib.decompressobj(GZIP)
    raise EOFError("it ends too early")
