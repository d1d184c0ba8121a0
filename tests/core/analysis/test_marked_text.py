"""A user's text in pieces: nothing is lost, and each effect is on the word that it belongs to."""

from __future__ import annotations

import numpy as np
import pytest

from core.analysis.marked_text import MarkedText
from core.data.encode import encode_text
from core.data.tokenizers import make_tokenizer
from core.data.vocabulary import Vocabulary
from core.spec.text import Text

WORDS = ["The", "FILM", "Cafe\u0301", "don't", "it's", "\u0130x", "a\u203cb", "&lt;3", "\u2764\ufe0f", "so-so", "Ok!"]
GAPS = [" ", "  ", ", ", "<br /><br />", " \u2014 ", "\n"]


def marked_text(string: str, text: Text, known: list[str]) -> MarkedText:
    vocabulary = Vocabulary(["<pad>", "<unk>", *known], [0, 0, *[1] * len(known)])
    return MarkedText.of(string, encode_text(string, vocabulary, text, "text 1"), text)


@pytest.mark.parametrize("truncate", ["head", "tail", "both"])
def test_pieces_join_to_the_text(truncate, rng):
    for _ in range(60):
        text = Text(max_length=int(rng.integers(1, 12)), truncate=truncate, head_share=0.5)
        string = "".join(rng.choice(WORDS) + rng.choice(GAPS) for _ in range(rng.integers(1, 12)))
        tokens = make_tokenizer(text)(string)
        known = [token for token in sorted(set(tokens)) if rng.random() < 0.6]
        marked = marked_text(string, text, known)
        effects = rng.normal(size=len(marked.places))
        pieces = marked.pieces(effects)
        assert "".join(own.text for own in pieces) == string.replace("<br />", "\n"), string
        own = [each.effect for each in pieces if each.effect is not None]
        assert sum(own) == pytest.approx(effects.sum()), string
        assert max(abs(each.share) for each in pieces) == pytest.approx(1.0)
        unread = sum(each.unread for each in pieces)
        # An unread token may share its characters with one that is read, as the second ! of U+203C.
        assert len(tokens) - len(effects) - string.count("\u203c") <= unread <= len(tokens) - len(effects)
        assert any(each.unknown for each in pieces) == bool(marked.unknown.any())
        assert len(marked.words) == len(effects) and all(marked.words)


def test_pieces_of_an_example():
    text = Text(max_length=4, truncate="both", head_share=0.5)
    marked = marked_text("A GOOD film<br/>with\x1bmuch Noise, really: BAD\u203c", text, ["a", "bad", "film", "!"])
    # Of the tokens a good film with much noise really bad ! ! the first two and the last two are kept.
    pieces = marked.pieces(np.array([1.0, -2.0, 0.5, 0.25]))
    found = [(own.text, own.effect, own.unknown, own.unread) for own in pieces]
    assert found == [
        ("A", 1.0, False, 0),
        (" ", None, False, 0),
        ("GOOD", -2.0, True, 0),
        (" ", None, False, 0),
        ("film\nwith\ufffdmuch Noise, really: BAD", None, False, 6),
        ("\u203c", 0.75, False, 0),
    ]
    assert [own.share for own in pieces if own.effect is not None] == [0.5, -1.0, 0.375]
    assert marked.words == ["A", "GOOD", "\u203c", "!"]


def test_focus_and_a_model_that_reads_all():
    marked = marked_text("Good film, Bad plot", Text(max_length=2), ["good", "plot"])
    assert [own.unread for own in marked.pieces(np.ones(2)) if own.unread] == [2]
    whole = marked.whole().pieces(np.array([1.0, 2.0, 3.0, 4.0]))
    assert [own.effect for own in whole if own.effect is not None] == [1.0, 2.0, 3.0, 4.0]
    assert not any(own.unread or own.unknown for own in whole)
    focused = MarkedText(marked.string, marked.spans, marked.tokens, marked.places, marked.unknown, 1)
    assert [own.text for own in focused.pieces(np.ones(2)) if own.focus] == ["film"]
