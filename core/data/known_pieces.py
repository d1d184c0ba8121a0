"""A hash table of short byte strings in NumPy arrays, which takes a fraction of the memory of a dictionary."""

from __future__ import annotations

import numpy as np

from core.data.token_pieces import LONGEST, WORD, Parts, Pieces, eight_bytes, hashes_of, odd_factors, parts_of

FIRST_SLOTS = 1 << 12
"""Slots of an empty table. They double before half of them are taken."""
FACTORS = odd_factors(0)


class KnownPieces:
    """Pieces, numbered in the order in which they are added. One of more than LONGEST bytes is never found."""

    def __init__(self) -> None:
        self._slots = np.full(FIRST_SLOTS, -1, dtype=np.int32)
        self._hashes = np.empty(0, dtype=np.uint64)
        self._starts = np.zeros(1, dtype=np.int64)
        self._joined = bytearray(LONGEST)  # what is read beyond the last piece

    def __len__(self) -> int:
        return len(self._hashes)

    @property
    def size(self) -> int:
        """Return the number of bytes of all pieces."""
        return len(self._joined) - LONGEST

    def find(self, pieces: Pieces) -> np.ndarray:
        """Return the number [D] of every distinct piece, -1 for an unknown one."""
        parts, _ = parts_of(pieces.joined, pieces.starts, pieces.sizes)
        hashes, found = hashes_of(parts, pieces.sizes, FACTORS), np.full(len(pieces.sizes), -1, dtype=np.int64)
        rows = np.flatnonzero(pieces.sizes <= LONGEST)
        places = self._first_places(hashes[rows])
        while len(rows):
            numbers = self._slots[places]
            taken = numbers >= 0
            rows, places, numbers = rows[taken], places[taken], numbers[taken]
            same = self._hashes[numbers] == hashes[rows]
            found[rows[same]] = numbers[same]
            rows, places = rows[~same], self._next_places(places[~same])
        return self._without_collisions(parts, pieces.sizes, found)

    def add(self, pieces: Pieces, rows: np.ndarray) -> list[bytes]:
        """Add the distinct pieces `rows`, which are unknown, and return them."""
        own = pieces.distinct(rows)
        self._joined[-LONGEST:] = b"\n".join([*own, bytes(LONGEST)])
        known, sizes = len(self), pieces.sizes[rows]
        parts, _ = parts_of(pieces.joined, pieces.starts[rows], sizes)
        self._starts = np.append(self._starts, self._starts[-1] + np.cumsum(sizes + 1))
        self._hashes = np.append(self._hashes, hashes_of(parts, sizes, FACTORS))
        if 2 * len(self) > len(self._slots):
            known = 0
            self._slots = np.full(1 << (2 * len(self)).bit_length(), -1, dtype=np.int32)
        self._insert(np.arange(known, len(self), dtype=np.int32))
        return own

    def _insert(self, numbers: np.ndarray) -> None:
        places = self._first_places(self._hashes[numbers])
        while len(numbers):
            free = self._slots[places] < 0
            self._slots[places[free]] = numbers[free]  # of several for one slot, the last stays there
            left = self._slots[places] != numbers
            numbers, places = numbers[left], self._next_places(places[left])

    def _without_collisions(self, parts: Parts, sizes: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Return -1 where a found number is that of another piece with the same hash."""
        rows = np.flatnonzero(found >= 0)
        numbers = found[rows]
        found[rows[self._starts[numbers + 1] - self._starts[numbers] != sizes[rows] + 1]] = -1
        for offset, (rows, values) in zip(range(0, LONGEST, WORD), parts, strict=False):
            same = found[rows] >= 0
            own = rows[same]
            theirs = eight_bytes(self._joined, self._starts[found[own]] + offset, sizes[own] - offset)
            found[own[theirs != values[same]]] = -1
        return found

    def _first_places(self, hashes: np.ndarray) -> np.ndarray:
        return (hashes >> np.uint64(65 - len(self._slots).bit_length())).astype(np.int64)

    def _next_places(self, places: np.ndarray) -> np.ndarray:
        return (places + 1) & (len(self._slots) - 1)
