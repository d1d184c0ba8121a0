"""The table of n-grams against a dictionary of tuples, and the texts that it reads."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from core.data.ngrams import table as module
from core.data.ngrams.table import ABSENT, NgramTable, build_table
from core.data.ngrams.texts import Texts
from tests.core.data.ngrams.drawing import ngrams_of_tokens, random_sequences


def found_strings(table: NgramTable, numbers: np.ndarray) -> list[list[str | None]]:
    return [[None if number == ABSENT else table.string(number) for number in row] for row in numbers.tolist()]


def expected_strings(sequences: list[list[str]], orders: int, known: set[tuple[str, ...]]) -> list[list[str | None]]:
    rows = []
    for tokens in sequences:
        for end in range(1, len(tokens) + 1):
            own = [tuple(tokens[end - n : end]) if n <= end else () for n in range(1, orders + 1)]
            rows.append([" ".join(ngram) if ngram in known else None for ngram in own])
    return rows


@pytest.mark.parametrize(("orders", "min_texts"), [(1, 1), (2, 1), (3, 2), (4, 3), (3, 31)])
def test_table_equals_a_dictionary(orders, min_texts, rng):
    """Also of new texts, with words and combinations that the table does not have."""
    sequences = random_sequences(rng)
    texts = Texts.of(sequences)
    table, numbers = build_table(texts, orders, min_texts)
    having = Counter(ngram for tokens in sequences for ngram in set(ngrams_of_tokens(tokens, orders)))
    known = {ngram for ngram, count in having.items() if count >= min_texts}
    strings = [table.string(number) for number in range(len(table))]
    assert sorted(strings) == sorted(map(" ".join, known))
    assert [string.count(" ") for string in strings] == sorted(string.count(" ") for string in strings)
    assert table.orders == orders and all((np.diff(keys) > 0).all() for keys in table.keys)
    assert numbers.dtype == np.int32
    assert found_strings(table, numbers) == expected_strings(sequences, orders, known)
    assert np.array_equal(table.find(texts), numbers)
    new = random_sequences(rng, units="fcabe")
    assert found_strings(table, table.find(Texts.of(new))) == expected_strings(new, orders, known)


def test_ngrams_never_cross_texts():
    table, numbers = build_table(Texts.of([["a"], ["b"], ["a", "b"], ["a", "b"]]), 2, 1)
    assert [table.string(number) for number in range(len(table))] == ["a", "b", "a b"]
    assert numbers.tolist() == [[0, -1], [1, -1], [0, -1], [1, 2], [0, -1], [1, 2]]


def test_an_ngram_counts_once_a_text():
    table, _ = build_table(Texts.of([["a", "a", "a", "a"], ["b"]]), 2, 2)
    assert len(table) == 0
    assert (table.find(Texts.of([["a", "b"]])) == ABSENT).all()


def test_keys_too_large_to_pack_are_sorted_too(rng, monkeypatch):
    """Two ways to sort give one table."""
    texts = Texts.of(random_sequences(rng))
    wanted, numbers = build_table(texts, 3, 2)
    monkeypatch.setattr(module, "PACKED_BITS", 0)
    found, again = build_table(texts, 3, 2)
    assert found.units == wanted.units and np.array_equal(numbers, again)
    assert all(np.array_equal(one, two) for one, two in zip(found.keys, wanted.keys, strict=True))


def test_characters_of_mixed_scripts():
    """Chinese tokens become their characters; words of other scripts stay whole."""
    texts = Texts.of([["电影", "good", "很好看"], ["good"], ["看", "iPhone6", "电影"]])
    found = texts.characters()
    strings = [found.strings[number] for number in found.ids]
    rows = [strings[start:stop] for start, stop in zip(found.offsets, found.offsets[1:], strict=False)]
    assert rows == [["电", "影", "good", "很", "好", "看"], ["good"], ["看", "iPhone6", "电", "影"]]
    assert len(set(found.strings)) == len(found.strings)
    assert found.numbers.tolist() == [0] * 6 + [1] + [2] * 4
