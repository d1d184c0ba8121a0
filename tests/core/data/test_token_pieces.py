"""Tokens found piece by piece are those of the tokenizer, numbered in order of first occurrence."""

from __future__ import annotations

import numpy as np
import pytest

from core.data import known_pieces, token_numbers, token_pieces
from core.data.known_pieces import KnownPieces
from core.data.token_numbers import TokenNumbers
from core.data.token_pieces import LONGEST, pieces_of
from core.data.tokenizers import make_tokenizer
from core.spec.text import Text

SIGNS = [*"aTtsOD3 09:;=()[]<>-_^*#@$%+!?.,'\"/\\|&\n\t\r\f\v\x1c\x1f\0\x01", "'s", "</3", "c++", "<br />", "< br\n>"]
OTHER = [*"\x85\xa0\u3000\u2028\u2019\u2026\ufe0f\u0301\u00e9\u0130\u03a3\u200d\u20e3\u597d\u304c\uff01\uff21"]
ENTITIES = ["\U0001f600", "&amp;", "&#160;", "&lt;br&gt;", "don't", "\U0001f1e6\U0001f1f9"]


def some_texts(rng, number):
    texts = []
    for place in range(number):
        chosen = [*SIGNS, *ENTITIES] if place % 3 == 0 else [*SIGNS, *OTHER, *ENTITIES]
        own = rng.choice(chosen, int(rng.integers(2, 12))).tolist() + [" "] * 3
        texts.append("".join(rng.choice(own, int(rng.integers(300))).tolist()))
    return texts


@pytest.mark.parametrize("spec", [Text(), Text(signs=False), Text(tokenizer="whitespace"), Text(lowercase=False)])
@pytest.mark.parametrize("half_width", [False, True])
def test_tokens_of_pieces_are_those_of_texts(rng, monkeypatch, spec, half_width):
    spec = spec.model_copy(update={"half_width": half_width})
    monkeypatch.setattr(token_numbers, "MOST_PIECES", int(rng.integers(1, 200)))
    texts, wanted = some_texts(rng, 60), rng.random(60) < 0.8
    numbers, tokenize, found = TokenNumbers(spec), make_tokenizer(spec), []
    assert numbers.by_pieces
    for start in range(0, 60, 20):
        found.append(numbers.number(texts[start : start + 20], wanted[start : start + 20].tolist()))
    tokens = [token for own in found for token in own.new]
    expected = [token for text, counts in zip(texts, wanted, strict=True) if counts for token in tokenize(text)]
    assert [tokens[number] for own in found for number in own.ids] == expected
    assert tokens == list(dict.fromkeys(expected))
    assert [size for own in found for size in own.lengths] == [len(tokenize(text)) for text in texts]


@pytest.mark.parametrize("tokenizer", ["characters", "letters"])
def test_tokenizers_without_pieces(rng, tokenizer):
    numbers, texts = TokenNumbers(Text(tokenizer=tokenizer)), some_texts(rng, 20)
    assert not numbers.by_pieces
    found = numbers.number(texts, [True] * 20)
    tokenize = make_tokenizer(Text(tokenizer=tokenizer))
    assert [found.new[number] for number in found.ids] == [token for text in texts for token in tokenize(text)]


def random_pieces(rng):
    """Return texts of pieces of all lengths, many of which differ in one byte or in length alone."""
    base = rng.integers(97, 99, LONGEST + 20).astype(np.uint8).tobytes() + b"\0\0\0"
    sizes = [1, 2, 7, 8, 9, 15, 16, 17, 24, LONGEST - 1, LONGEST, LONGEST + 1, LONGEST + 22]
    pieces = [base[-size:] for size in sizes] + [base[:size] for size in sizes]
    return [b" ".join(pieces[n] for n in rng.integers(len(pieces), size=rng.integers(20))) for _ in range(60)]


@pytest.mark.parametrize("collisions", [0, 2])
def test_distinct_pieces(rng, monkeypatch, collisions):
    original, trials = token_pieces._hashed, []

    def colliding(parts, sizes, long, trial):
        trials.append(trial)
        if trial >= collisions:
            return original(parts, sizes, long, trial)
        return np.zeros(1, np.int64), np.zeros(len(sizes), np.int64)

    monkeypatch.setattr(token_pieces, "_hashed", colliding)
    texts = random_pieces(rng)
    found = pieces_of(texts)
    distinct = found.distinct()
    assert trials == list(range(collisions + 1))
    pieces = [piece for text in texts for piece in text.split()]
    assert [distinct[number] for number in found.which] == pieces
    assert list(dict.fromkeys(distinct)) == list(dict.fromkeys(pieces))
    assert found.counts.tolist() == [len(text.split()) for text in texts]
    short = [piece for piece in distinct if len(piece) <= LONGEST]
    assert len(set(short)) == len(short)


@pytest.mark.parametrize("texts", [[], [b""], [b" \n", b"", b"\t"], [b"", b"a"], [b"a", b""]])
def test_texts_without_pieces(texts):
    found = pieces_of(texts)
    assert found.distinct() == [b"a"] * (b"a" in texts) and found.counts.tolist() == [len(own.split()) for own in texts]


@pytest.mark.parametrize("shift", [0, 62])
def test_known_pieces(rng, monkeypatch, shift):
    """Pieces that were added are found with their numbers, and others are not, even if hashes collide."""
    monkeypatch.setattr(known_pieces, "FACTORS", known_pieces.FACTORS << np.uint64(shift))
    monkeypatch.setattr(known_pieces, "FIRST_SLOTS", 4)
    known, numbers = KnownPieces(), []
    for _ in range(20):
        words = b" ".join(b"%d" % number for number in rng.integers(300, size=20))
        pieces = pieces_of([*random_pieces(rng)[:7], words])
        found, distinct = known.find(pieces), pieces.distinct()
        for number, piece in zip(found.tolist(), distinct, strict=True):
            if number >= 0:
                assert numbers[number] == piece and len(piece) <= LONGEST
            elif not shift:
                assert piece not in numbers or len(piece) > LONGEST
        new = np.flatnonzero(found < 0)
        assert known.add(pieces, new) == [distinct[row] for row in new]
        numbers += [distinct[row] for row in new]
        assert len(known) == len(numbers) and known.size == len(b"".join(numbers)) + len(numbers)
