"""Spans of tokens in the user's own text."""

from __future__ import annotations

import html
import importlib.util
import unicodedata

import pytest

from core.data.signs import REWRITTEN
from core.data.tagged_text import tokens_of
from core.data.token_spans import sentence_spans, token_spans
from core.data.tokenizers import APOSTROPHES, LINE_BREAK, make_tokenizer
from core.data.tokenizers import half_width as narrow
from core.spec.text import Text
from core.strings import SPACE

HAS_JIEBA = importlib.util.find_spec("jieba") is not None

KINDS = [
    *(Text(tokenizer=name) for name in ("whitespace", "words", "characters", "letters")),
    Text(tokenizer="words", lowercase=False),
    Text(tokenizer="words", signs=False),
    Text(tokenizer="words", half_width=True),
    Text(tokenizer="characters", half_width=True),
    *([Text(tokenizer="jieba"), Text(tokenizer="jieba", jieba_hmm=False, half_width=True)] if HAS_JIEBA else []),
]

PARTS = [
    *"abcXYZ 019'!?.:;-^_#@*()<>&\u0130\u03a3\u00c5\u00e9\u1e9e\u00df\ufb01\u017f",
    *"\u0301\u0327\u0344\u0323\u0f73\u0f71\u200d\u200c\ufe0f\ufe0e\u20e3\x92",
    *"\u4e2d\u56fd\u5f88\u597d\u770b\u3042\u30ab\u3099\u1100\u1161\u11a8\u0915\u093c\u0958\u09c7\u09be",
    *"\uff21\uff41\uff11\uff01\u2026\u203c\u2049\u061f\u2019\u3000\u2028\t\n",
    *"\U0001f602\U0001f44d\U0001f3fd\U0001f468\U0001f469\U0001f1e9\U0001f1ea\u2764\U0001f525",
    *("<br />", "</BR>", "<br", "&amp;", "&lt;3", "&amp;lt;", "&notit;", "&eacute", "&semi;", "&fjlig;", "&#39;s"),
    *("&bne;", "&#1;", "&hearts;", "don't", "it's", ":-)", "...", "C++", "O\u0308", "\u039f\u03a3", "film", " the "),
]
"""Letters whose lower case is longer, accents that compose or move, entities, deleted signs, several scripts."""


def normalized(string: str, text: Text) -> str:
    """Return a slice as the tokenizer normalizes it, without white space, and with one form of sigma."""
    if text.half_width:
        string = narrow(string)
    if text.tokenizer == "words":
        string = html.unescape(string)
    if text.lowercase:
        string = string.lower()
    if text.tokenizer == "whitespace":
        string = string.replace("<br />", " ")
    elif text.tokenizer != "letters":
        string = LINE_BREAK.sub(" ", string)
    if text.tokenizer == "words":
        string = string.translate(APOSTROPHES | REWRITTEN if text.signs else APOSTROPHES)
    if text.tokenizer not in ("jieba", "whitespace"):
        string = unicodedata.normalize("NFC", string)
    return "".join(string.split()).replace("\u03c2", "\u03c3")


def check(string: str, tokens: list[str], spans: list[tuple[int, int]], text: Text) -> None:
    """Check that the spans are ordered and disjoint, and that the slices give the tokens."""
    assert len(spans) == len(tokens), (string, tokens, spans)
    edges = [place for span in spans for place in span]
    assert edges == sorted(edges) and (not edges or edges[-1] <= len(string)), (string, spans)
    groups: list[tuple[str, list[str]]] = []
    for token, (start, end) in zip(tokens, spans, strict=True):
        if start < end:
            groups.append((string[start:end], []))
        groups[-1][1].append(token)
    for own, found in groups:
        joined = "".join(found).replace(SPACE, "").replace("\u03c2", "\u03c3")
        # Of the five dots of ".." and U+2026, the tokenizer finds the first three.
        expected = normalized(own, text)[: len(joined)] if "\u2026" in own else normalized(own, text)
        assert expected == joined, (string, own, found)


@pytest.mark.parametrize("text", KINDS, ids=lambda text: f"{text.tokenizer}-{text.lowercase}-{text.half_width}")
def test_slices_normalize_to_tokens(text, rng):
    tokenize = make_tokenizer(text)
    for _ in range(300):
        string = "".join(rng.choice(PARTS, size=rng.integers(1, 25)))
        check(string, tokenize(string), token_spans(string, text), text)


@pytest.mark.parametrize("tokenizer", ["whitespace", "letters"])
def test_slices_of_a_sentence_normalize_to_tokens(tokenizer, rng):
    text = Text(tokenizer=tokenizer, lowercase=False)
    for _ in range(300):
        string = "".join(rng.choice(PARTS, size=rng.integers(1, 25)))
        spans, tokens = sentence_spans(string, text), tokens_of(string, text)[0]
        edges = [place for span in spans for place in span]
        assert edges == sorted(edges)
        assert len(spans) == len(tokens)
        for token, (start, end) in zip(tokens, spans, strict=True):
            if tokenizer == "whitespace":
                assert unicodedata.normalize("NFC", string[start:end]) == token
            elif start < end:
                assert unicodedata.normalize("NFC", string[start:end])[0] == token


EXAMPLES = {
    "capitals": (Text(), "The Film's \u00c5\u0130b, ok", ["The", "Film", "'s", "\u00c5\u0130b", "ok"]),
    "entities": (Text(), "R&amp;B don&#39;t &lt;3&semi;", ["R", "B", "don&#39;t", "&lt;3"]),
    "line breaks": (Text(), "a<br />B<BR>:)", ["a", "B", ":)"]),
    "selectors": (Text(), "ok\ufe0f \u2764\ufe0f\u200d\U0001f525!", ["ok\ufe0f", "\u2764\ufe0f\u200d\U0001f525", "!"]),
    "two of one": (Text(), "a\u203cb", ["a", "\u203c", "", "b"]),
    "accents": (Text(), "Cafe\u0301 u\u0323\u0308x", ["Cafe\u0301", "u\u0323\u0308x"]),
    "dots": (Text(), "well\u2026 A", ["well", "\u2026", "A"]),
    "full width": (Text(tokenizer="characters", half_width=True), "\uff21\uff22\uff01", ["\uff21\uff22", "\uff01"]),
    "letters": (Text(tokenizer="letters"), " \u0130 \n B", ["\u0130", "", " \n ", "B"]),
    "white space": (Text(tokenizer="whitespace"), "A<br />b,  C", ["A", "b,", "C"]),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_slices_of_examples(name):
    text, string, expected = EXAMPLES[name]
    assert [string[start:end] for start, end in token_spans(string, text)] == expected


@pytest.mark.skipif(not HAS_JIEBA, reason="jieba is not installed")
def test_slices_of_jieba_words():
    string = "\u8fd9\u90e8\u7535\u5f71  \u771f\u597dBD<br/>\u770b"
    found = [string[start:end] for start, end in token_spans(string, Text(tokenizer="jieba"))]
    assert [own.lower() for own in found] == make_tokenizer(Text(tokenizer="jieba"))(string)
    assert "".join(found) == string.replace(" ", "").replace("<br/>", "")
