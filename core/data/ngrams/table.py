"""The table of n-grams that occur in enough training texts.

An n-gram is numbered by its first n - 1 units and its last one, so that a sorted array of integers per n holds all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.data.ngrams.texts import Texts

ABSENT = -1
PACKED_BITS = 63
"""Bits of an integer that holds a key and its place."""


@dataclass(frozen=True)
class NgramTable:
    """N-grams of one kind of unit (tokens or characters), numbered from 0: all unigrams, then all bigrams, ...

    `units`: the strings of the unigrams. `keys`: for n = 2, 3, ... a sorted array of int64, `a * len(units) + b` with
    the place `a` of the first n - 1 units among the (n - 1)-grams, and the unigram `b` of the last one.
    """

    units: list[str]
    keys: tuple[np.ndarray, ...]

    @property
    def orders(self) -> int:
        return 1 + len(self.keys)

    @property
    def starts(self) -> list[int]:
        """Number of the first n-gram of each n, and at the end that of all n-grams."""
        sizes = [len(self.units), *map(len, self.keys)]
        return [0, *np.cumsum(sizes).tolist()]

    def __len__(self) -> int:
        return self.starts[-1]

    def find(self, texts: Texts) -> np.ndarray:
        """Return the number of the n-gram that ends at each token, ABSENT if unknown, [T, orders] int32."""
        known = {unit: number for number, unit in enumerate(self.units)}
        numbers = np.fromiter((known.get(string, ABSENT) for string in texts.strings), np.int32, len(texts.strings))
        units = numbers[texts.ids]
        found = np.full((len(units), self.orders), ABSENT, dtype=np.int32)
        found[:, 0] = last = units
        for n, keys in enumerate(self.keys, 1):
            wanted = _keys(last, units, texts.numbers, len(self.units))
            last = _look_up(keys, wanted)
            np.add(last, self.starts[n], out=found[:, n], where=last != ABSENT)
        return found

    def string(self, number: int) -> str:
        """Return an n-gram, its units separated by spaces."""
        n = int(np.searchsorted(self.starts, number, side="right"))
        number -= self.starts[n - 1]
        units = []
        for keys in reversed(self.keys[: n - 1]):
            number, unit = divmod(int(keys[number]), len(self.units))
            units.append(self.units[unit])
        return " ".join([self.units[number], *reversed(units)])


def build_table(texts: Texts, orders: int, min_texts: int) -> tuple[NgramTable, np.ndarray]:
    """Return the table of the n-grams, n from 1 to `orders`, that at least `min_texts` texts have.

    The second result is what `find` returns for these texts, [T, orders] int32.
    """
    keys, last = _frequent(texts.ids.astype(np.int64), texts.numbers, min_texts)
    strings = [texts.strings[number] for number in keys.tolist()]
    units, tables = last, []
    found = np.full((len(units), orders), ABSENT, dtype=np.int32)
    found[:, 0], start = units, len(strings)
    for n in range(1, orders):
        keys, last = _frequent(_keys(last, units, texts.numbers, len(strings)), texts.numbers, min_texts)
        np.add(last, start, out=found[:, n], where=last != ABSENT)
        tables.append(keys)
        start += len(keys)
    return NgramTable(strings, tuple(tables)), found


def _keys(last: np.ndarray, units: np.ndarray, texts: np.ndarray, size: int) -> np.ndarray:
    """Return the key of the n-gram that ends at each unit, from the (n - 1)-grams `last` that do; [T] int64."""
    keys = np.full(len(units), ABSENT, dtype=np.int64)
    whole = (last[:-1] != ABSENT) & (units[1:] != ABSENT) & (texts[1:] == texts[:-1])
    np.multiply(last[:-1], size, out=keys[1:], where=whole, dtype=np.int64)
    np.add(keys[1:], units[1:], out=keys[1:], where=whole)
    return keys


def _look_up(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the places [T] int32 of `wanted` [T] in the sorted `keys`, ABSENT where they are not there."""
    places = np.full(len(wanted), ABSENT, dtype=np.int32)
    own, present = _sorted(wanted)
    if len(keys) and len(own):
        starts, sizes = _runs(own)
        own = own[starts]  # sorted, so that the search reads the keys from end to end
        near = np.minimum(np.searchsorted(keys, own), len(keys) - 1)
        places[present] = np.repeat(np.where(keys[near] == own, near, ABSENT).astype(np.int32), sizes)
    return places


def _frequent(keys: np.ndarray, texts: np.ndarray, min_texts: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct keys that `min_texts` texts have, ascending, and the places of all keys among them.

    `keys` [T] are ABSENT or >= 0, `texts` [T] their texts, ascending; places [T] int32 are ABSENT for rarer keys.
    """
    places = np.full(len(keys), ABSENT, dtype=np.int32)
    own, present = _sorted(keys)
    if len(own) == 0:
        return np.zeros(0, np.int64), places
    starts, sizes = _runs(own)
    text = texts[present]
    first = np.empty(len(own), dtype=np.int8)  # 1 for the first occurrence of a key in a text
    first[0] = 1
    np.not_equal(text[1:], text[:-1], out=first[1:], casting="unsafe")
    first[starts] = 1
    frequent = np.add.reduceat(first, starts, dtype=np.int64) >= min_texts
    numbers = np.where(frequent, np.cumsum(frequent) - 1, ABSENT).astype(np.int32)
    places[present] = np.repeat(numbers, sizes)
    return own[starts[frequent]], places


def _sorted(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys >= 0 of [T], ascending, and their places; equal keys in the order of their places.

    Where key and place fit into one integer, sorting those takes a third of the time.
    """
    bits = max(len(keys) - 1, 1).bit_length()
    if int(keys.max(initial=0)).bit_length() + bits > PACKED_BITS:
        present = np.flatnonzero(keys != ABSENT)
        present = present[np.argsort(keys[present], kind="stable")]
        return keys[present], present
    packed = keys << bits
    packed |= np.arange(len(keys))
    packed = packed[keys != ABSENT]
    packed.sort()
    present = packed & ((1 << bits) - 1)
    packed >>= bits
    return packed, present


def _runs(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places where runs of equal numbers start, and their sizes."""
    new = np.empty(len(ordered), dtype=bool)
    new[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    starts = np.flatnonzero(new)
    return starts, np.diff(starts, append=len(ordered))
