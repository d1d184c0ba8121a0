"""The distinct pieces of many texts between white space, found by NumPy.

Text repeats its words, so tokenizing each piece once takes a fraction of the time of tokenizing all texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

LONGEST = 64
"""Bytes of a piece that are compared with others; longer ones are seldom repeated."""

_WORD = 8
_MASKS = np.array([(1 << 8 * size) - 1 for size in range(_WORD + 1)], dtype=np.uint64)
"""Masks of the first 0 to 8 bytes of a little-endian number."""
_SPACES = bytes(chr(code) in " \t\n\r\f\v" for code in range(256))
"""1 for white space of ASCII, which is that of `re.ASCII`; 0 for other bytes."""


@dataclass(frozen=True)
class Pieces:
    """`distinct`: D pieces in order of first occurrence; a long one may repeat. `which` [P]: the piece at each place.

    `counts` [N]: numbers of pieces of the texts.
    """

    distinct: list[bytes]
    which: np.ndarray
    counts: np.ndarray


def pieces_of(texts: Sequence[bytes]) -> Pieces:
    """Divide texts at white space of ASCII."""
    joined = b"\n".join([b"", *texts, b"\n" * LONGEST])
    space = np.frombuffer(joined.translate(_SPACES), dtype=bool)
    edges = np.flatnonzero(space[1:] != space[:-1]) + 1
    starts, ends = edges[0::2], edges[1::2]
    first_bytes = np.cumsum([1, *(len(text) + 1 for text in texts)])
    counts = np.diff(np.searchsorted(starts, first_bytes))
    first, which = _groups(joined, starts, ends - starts)
    bounds = zip(starts[first].tolist(), ends[first].tolist(), strict=True)
    return Pieces([joined[start:end] for start, end in bounds], which, counts)


def _groups(joined: bytes, starts: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first place [D] of every distinct piece, ascending, and the number of the piece [P] at each place."""
    words = np.ndarray((len(joined) - _WORD + 1,), "<u8", joined, strides=(1,))
    parts, rows, offset = [], np.arange(len(starts)), 0
    while len(rows) and offset < LONGEST:
        values = words[starts[rows] + offset] & _MASKS[np.minimum(sizes[rows] - offset, _WORD)]
        parts.append((rows, values))
        offset += _WORD
        rows = rows[sizes[rows] > offset]
    for trial in count():
        first, which = _hashed(parts, sizes, rows, trial)
        if _are_equal(parts, sizes, rows, first[which]):
            return first, which
    raise AssertionError


def _are_equal(
    parts: list[tuple[np.ndarray, np.ndarray]], sizes: np.ndarray, long: np.ndarray, same: np.ndarray
) -> bool:
    """Return whether every piece equals the one at the place `same` [P]; a `long` one equals itself alone."""
    if not ((sizes[same] == sizes).all() and (same[long] == long).all()):
        return False
    all_values = np.empty(len(sizes), dtype=np.uint64)
    for rows, values in parts:
        all_values[rows] = values  # pieces of equal sizes have equally many parts
        if not (all_values[same[rows]] == values).all():
            return False
    return True


def _hashed(
    parts: list[tuple[np.ndarray, np.ndarray]], sizes: np.ndarray, long: np.ndarray, trial: int
) -> tuple[np.ndarray, np.ndarray]:
    """Group places by a hash with the multipliers of a `trial`. Different pieces collide once in millions of calls.

    A sort of numbers is several times as fast as one of their order, so the place is in the low bits.
    """
    factors = np.random.default_rng(trial).integers(1 << 63, size=len(parts) + 2, dtype=np.uint64) * 2 + 1
    keys = sizes.astype(np.uint64) * factors[0]
    for factor, (rows, values) in zip(factors[2:], parts, strict=True):
        if len(rows) == len(keys):
            keys += values * factor
        else:
            keys[rows] += values * factor
    places = np.arange(len(keys), dtype=np.uint64)
    keys[long] += places[long] * factors[1]
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
