"""The distinct pieces of many texts between white space, found by NumPy.

Text repeats its words, so tokenizing each piece once takes a fraction of the time of tokenizing all texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

LONGEST = 64
"""Bytes of a piece that are compared with others; longer ones are seldom repeated."""

WORD = 8
"""Bytes that are compared at once."""

_MASKS = np.array([(1 << 8 * size) - 1 for size in range(WORD + 1)], dtype=np.uint64)
"""Masks of the first 0 to 8 bytes of a little-endian number."""
_SPACES = bytes(chr(code) in " \t\n\r\f\v" for code in range(256))
"""1 for white space of ASCII, which is that of `re.ASCII`; 0 for other bytes."""

Parts = list[tuple[np.ndarray, np.ndarray]]
"""Pieces as numbers of 8 bytes, from the first to the last: the rows of pieces that are so long, and the numbers."""


@dataclass(frozen=True)
class Pieces:
    """D pieces in order of first occurrence; a long one may repeat. They are in `joined`, from `starts`, of `sizes`.

    `which` [P]: the piece at each place. `counts` [N]: numbers of pieces of the texts.
    """

    joined: bytes
    starts: np.ndarray
    sizes: np.ndarray
    which: np.ndarray
    counts: np.ndarray

    def distinct(self, rows: np.ndarray | slice = slice(None)) -> list[bytes]:
        """Return the pieces `rows` of all D."""
        starts = self.starts[rows]
        bounds = zip(starts.tolist(), (starts + self.sizes[rows]).tolist(), strict=True)
        return [self.joined[start:end] for start, end in bounds]


def pieces_of(texts: Sequence[bytes]) -> Pieces:
    """Divide texts at white space of ASCII."""
    joined = b"\n".join([b"", *texts, b"\n" * LONGEST])
    space = np.frombuffer(joined.translate(_SPACES), dtype=bool)
    edges = np.flatnonzero(space[1:] != space[:-1]) + 1
    starts, sizes = edges[0::2], edges[1::2] - edges[0::2]
    first_bytes = np.cumsum([1, *(len(text) + 1 for text in texts)])
    counts = np.diff(np.searchsorted(starts, first_bytes))
    first, which = _groups(joined, starts, sizes)
    return Pieces(joined, starts[first], sizes[first], which, counts)


def eight_bytes(joined: bytes | bytearray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the 8 bytes from `starts` as numbers, without those beyond `sizes`."""
    every = np.ndarray((len(joined) - WORD + 1,), "<u8", joined, strides=(1,))
    return every[starts] & _MASKS[np.minimum(sizes, WORD)]


def parts_of(joined: bytes, starts: np.ndarray, sizes: np.ndarray) -> tuple[Parts, np.ndarray]:
    """Return the parts of pieces, and the rows of those that are longer than LONGEST."""
    parts, rows, offset = [], np.arange(len(starts)), 0
    while len(rows) and offset < LONGEST:
        parts.append((rows, eight_bytes(joined, starts[rows] + offset, sizes[rows] - offset)))
        offset += WORD
        rows = rows[sizes[rows] > offset]
    return parts, rows


def odd_factors(seed: int) -> np.ndarray:
    """Return multipliers of hashes. A package of random numbers would take 8 MB in each process."""
    digest = hashlib.shake_128(seed.to_bytes(8, "little")).digest(8 * (LONGEST // WORD + 2))
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64) | 1


def hashes_of(parts: Parts, sizes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return the 64-bit hashes of pieces; `factors` are the multipliers of the size and of the parts."""
    hashes = sizes.astype(np.uint64) * factors[0]
    for factor, (rows, values) in zip(factors[1:], parts, strict=False):
        if len(rows) == len(hashes):
            hashes += values * factor
        else:
            hashes[rows] += values * factor
    return hashes


def _groups(joined: bytes, starts: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first place [D] of every distinct piece, ascending, and the number of the piece [P] at each place."""
    parts, rows = parts_of(joined, starts, sizes)
    for trial in count():
        first, which = _hashed(parts, sizes, rows, trial)
        if _are_equal(parts, sizes, rows, first[which]):
            return first, which
    raise AssertionError


def _are_equal(parts: Parts, sizes: np.ndarray, long: np.ndarray, same: np.ndarray) -> bool:
    """Return whether every piece equals the one at the place `same` [P]; a `long` one equals itself alone."""
    if not ((sizes[same] == sizes).all() and (same[long] == long).all()):
        return False
    all_values = np.empty(len(sizes), dtype=np.uint64)
    for rows, values in parts:
        all_values[rows] = values  # pieces of equal sizes have equally many parts
        if not (all_values[same[rows]] == values).all():
            return False
    return True


def _hashed(parts: Parts, sizes: np.ndarray, long: np.ndarray, trial: int) -> tuple[np.ndarray, np.ndarray]:
    """Group places by a hash with the multipliers of a `trial`. Different pieces collide once in millions of calls.

    A sort of numbers is several times as fast as one of their order, so the place is in the low bits.
    """
    factors = odd_factors(trial)
    keys = hashes_of(parts, sizes, factors[1:])
    places = np.arange(len(keys), dtype=np.uint64)
    keys[long] += places[long] * factors[0]
    low = np.uint64((1 << len(keys).bit_length()) - 1)
    keys &= ~low
    keys |= places
    keys.sort()
    order = (keys & low).astype(np.int64)
    keys &= ~low
    begins = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=begins[1:])
    first = order[begins]
    ranks = np.empty(len(first), dtype=np.int64)
    ascending = np.argsort(first)
    ranks[ascending] = np.arange(len(first))
    which = np.empty(len(keys), dtype=np.int64)
    which[order] = np.repeat(ranks, np.diff(np.flatnonzero(np.append(begins, True))))
    return first[ascending], which
