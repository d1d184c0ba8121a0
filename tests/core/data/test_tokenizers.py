"""Signs of the `words` tokenizer, and the `letters` tokenizer."""

from __future__ import annotations

import unicodedata

import pytest

from core.data.tokenizers import make_tokenizer
from core.spec.text import Text

SIGNS = {
    "emoji": ("Good\U0001f602\U0001f602!", ["good", "\U0001f602", "\U0001f602", "!"]),
    "skin tone": ("\U0001f44d\U0001f3fd\U0001f44d", ["\U0001f44d\U0001f3fd", "\U0001f44d"]),
    "joined": ("\U0001f468\u200d\U0001f469\u200d\U0001f467 ok", ["\U0001f468\u200d\U0001f469\u200d\U0001f467", "ok"]),
    "joined with a selector": ("\u2764\ufe0f\u200d\U0001f525", ["\u2764\u200d\U0001f525"]),
    "selector": ("\u2764\ufe0f \u2764", ["\u2764", "\u2764"]),
    "flags": ("\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", ["\U0001f1e9\U0001f1ea", "\U0001f1eb\U0001f1f7"]),
    "flag of tags": (
        "\U0001f3f4\U000e0067\U000e0062\U000e007f",
        ["\U0001f3f4\U000e0067\U000e0062\U000e007f"],
    ),
    "keycaps": ("1\ufe0f\u20e3 #\ufe0f\u20e3 12", ["1\u20e3", "#\u20e3", "12"]),
    "stars": ("\u2605\u2605\u2606", ["\u2605", "\u2605", "\u2606"]),
    "stars of ASCII": ("**** of *****", ["****", "of", "*****"]),
    "Markdown": ("**bold** and f**k", ["bold", "and", "f", "k"]),
    "box drawing": ("\u2500\u2500 a", ["a"]),
    "faces": (
        "Great:) :-( ;) :D :-P =) :'( >:( :/ ^_^ T_T",
        ["great", ":)", ":-(", ";)", ":d", ":-p", "=)", ":'(", ">:(", ":/", "^_^", "t_t"],
    ),
    "longer faces": (":))) :(((", [":)", ":("]),
    "time": ("at 10:30, 1:3 or 3:D", ["at", "10", "30", "1", "3", "or", "3", "d"]),
    "addresses": (
        r"http://a.b/c C:/d c:\e file:/f",
        ["http", "a", "b", "c", "c", "d", "c", "e", "file", "f"],
    ),
    "a colon in front of brackets": ('cast:(John) {"a":[1]} x:{y}', ["cast", "john", "a", "1", "x", "y"]),
    "HTML": ("<b>:)</b> a<br />:( <b>.<i>", ["b", ":)", "b", "a", ":(", "b", "i"]),
    "hearts": ("<3 &lt;3 </3 <30 <3.5 &hearts;", ["<3", "<3", "</3", "30", "3", "5", "\u2665"]),
    "languages": ("C++, c# (F#) a+b G++11", ["c++", "c#", "f#", "a", "+", "b", "g++", "11"]),
    "grades": ("A+ or 10+", ["a+", "or", "10", "+"]),
    "dots": ("no... well.. ok...... a.b \u2026", ["no", "...", "well", "ok", "...", "a", "b", "..."]),
    "amounts": ("$5, 50% and \u20ac7", ["$", "5", "50", "%", "and", "\u20ac", "7"]),
    "signs of numbers": ("+1 -1 3-1 re-made - b", ["+", "1", "-", "1", "3", "1", "re", "made", "b"]),
    "tags and mentions": ("#love @user a@b.c # @", ["#", "love", "@", "user", "a", "b", "c"]),
    "separators": ("R&B \u2014 (a) 'b' \u201ec\u201c; d, e.", ["r", "b", "a", "b", "c", "d", "e"]),
    "other question marks": ("\u203c \u2049 \uff01 \u061f", ["!", "!", "!", "?", "!", "?"]),
    "words as before": ("It's the film's, don\u2019t", ["it", "'s", "the", "film", "'s", "don't"]),
}


@pytest.mark.parametrize("name", SIGNS)
def test_signs(name):
    text, tokens = SIGNS[name]
    tokenize = make_tokenizer(Text())
    assert tokenize(text) == tokens
    # The pattern for ASCII and that for other texts agree.
    assert tokenize(text + " \u00e9") == [*tokens, "\u00e9"]
    assert tokenize(f"\u00e9\n{text}\n") == ["\u00e9", *tokens]


def test_without_signs_tokens_are_those_of_format_2():
    text = "C++ & c#... <3 \U0001f602 :D ****! $5 -1 #tag @user a+ \u2764\ufe0f T_T?"
    expected = ["c", "c", "3", "d", "!", "5", "1", "tag", "user", "a", "t", "t", "?"]
    assert make_tokenizer(Text(signs=False))(text) == expected


def test_faces_keep_case_when_asked():
    assert make_tokenizer(Text(lowercase=False))("XD :D :d C++ T_T") == ["XD", ":D", ":d", "C++", "T_T"]


def test_no_token_is_empty_or_has_white_space(rng):
    tokenize = make_tokenizer(Text())
    pool = [*range(1, 0x180), 0x2019, 0x200D, 0x2028, 0x20E3, 0x3000, 0x301, 0x1F600, 0x1F3FD, 0x1F1E9, 0xFE0F, 0x2665]
    for _ in range(300):
        text = "".join(map(chr, rng.choice([*pool, *map(ord, ":;=()<>^-_*.#@+3DPo/'\"" * 6)], size=60)))
        for token in tokenize(text):
            assert token and not any(character.isspace() for character in token), text


def test_letters(rng):
    letters = make_tokenizer(Text(tokenizer="letters"))
    assert letters(" a\t B.com\u00e9\U0001f44d\U0001f3fd\n") == [*"a\u2581b.com\u00e9\U0001f44d\U0001f3fd"]
    assert letters("e\u0301<br />") == [*"\u00e9<br\u2581/>"] and letters(" \n ") == []
    assert make_tokenizer(Text(tokenizer="letters", lowercase=False))("A\u4e2d") == ["A", "\u4e2d"]
    for _ in range(50):
        text = "".join(map(chr, rng.choice([*range(1, 0x250), 0x4E2D, 0x1F600], size=40)))
        expected = unicodedata.normalize("NFC", "".join(text.lower().split()))
        assert "".join(letters(text)).replace("\u2581", "") == expected


@pytest.mark.parametrize("tokenizer", ["characters", "letters", "words", "whitespace"])
def test_half_width_replaces_full_width_signs_only(tokenizer):
    full, half = Text(tokenizer=tokenizer, half_width=True), Text(tokenizer=tokenizer)
    assert make_tokenizer(full)("ＡＢ１ 中～文") == make_tokenizer(half)("AB1 中~文")
    assert make_tokenizer(half)("ＡＢ") != make_tokenizer(half)("AB")
