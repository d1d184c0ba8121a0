"""Tar archive of the IMDB reviews, plain or compressed by gzip, as a stream with limits."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import chain, islice
from pathlib import Path

from core.data.gzip_blocks import unpacked
from core.data.prefetch import prefetch
from core.data.tar_stream import BLOCK, BadTar, OverLimit, TarStream
from core.errors import UserError

DAMAGED = (BadTar, EOFError, zlib.error)
MEMBERS = 300_000
"""Most members of an archive; the dataset has about 100,000."""
UNPACKED, UNPACKED_PER_BYTE = 64 * 10**6, 10
"""Limit of the unpacked bytes: a constant, and bytes per byte of the archive; the dataset has 4."""


@contextmanager
def opened(path: Path, to_the_end: bool = True) -> Iterator[tuple[TarStream, Callable[[], int]]]:
    """Yield the archive as a stream, and a function returning the number of bytes consumed.

    Raises UserError: the file cannot be read, is no tar archive, is damaged, or claims more than the limits.
    """
    try:
        with path.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            blocks = unpacked(raw, BLOCK)
            with closing(prefetch(blocks)) as ahead:
                try:
                    size = path.stat().st_size
                    longest = UNPACKED + UNPACKED_PER_BYTE * size if compressed else size
                    every = chain(islice(blocks, 1), ahead)
                    tar = TarStream((lambda _: next(every, b"")) if compressed else raw.read, MEMBERS, longest)
                except (BadTar, zlib.error):
                    raise UserError(f"{path}: not a tar archive: give an aclImdb .tar.gz, .tar or folder") from None
                yield tar, raw.tell
                # The gzip checksum follows the last member.
                if compressed and to_the_end:
                    tar.finish()
    except OverLimit as error:
        raise UserError(f"{path}: {error}: use a new copy of the dataset") from None
    except DAMAGED as error:
        raise UserError(f"{path}: truncated or damaged ({error}): download or copy the archive again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}): check its permissions") from None
