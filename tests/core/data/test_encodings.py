"""Which encoding bytes are read in."""

from __future__ import annotations

import codecs

import pytest

from core.data.encoding_guess import CANDIDATES
from core.data.encodings import SAMPLE, Decoding, check_encoding, detect_encoding
from core.errors import UserError
from tests.conftest import fresh_rng, one_line

CHINESE = "\u8fd9\u90e8\u7535\u5f71\u5f88\u597d\u770b\uff0c\u6211\u975e\u5e38\u559c\u6b22\u3002\n"
GERMAN = "Ein sch\u00f6ner Film \u00fcber M\u00fc\u00dfiggang, gro\u00dfartig!\n"
TEXTS = {
    "gb18030": CHINESE,
    "big5": "\u9019\u90e8\u96fb\u5f71\u5f88\u597d\u770b\uff0c\u6211\u975e\u5e38\u559c\u6b61\u3002\n",
    "cp932": "\u3053\u306e\u6620\u753b\u306f\u3068\u3066\u3082\u9762\u767d\u304b\u3063\u305f\u3067\u3059\u3002\n",
    "cp949": "\uc774 \uc601\ud654\ub294 \uc815\ub9d0 \uc7ac\ubbf8\uc788\uc5b4\uc694.\n",
    "cp1252": GERMAN,
    "cp1251": "\u0425\u043e\u0440\u043e\u0448\u0438\u0439 \u0444\u0438\u043b\u044c\u043c, \u0434\u0430\n",
}


def in_blocks(data: bytes, rng) -> list[bytes]:
    """Blocks of random sizes, so that characters cross their borders; the first holds any mark."""
    blocks, place = [data[:4]], 4
    while place < len(data):
        size = int(rng.choice([1, 2, 3, 7, 1000, 70_000]))
        blocks.append(data[place : place + size])
        place += size
    return blocks


def found(data: bytes, requested: str = "utf-8") -> tuple[str, str]:
    decoding = detect_encoding(in_blocks(data, fresh_rng()), requested)
    assert decoding == detect_encoding([data], requested)
    return decoding.encoding, decoding.reason


@pytest.mark.parametrize("requested", ["utf-8", "gb18030", "cp1252", "utf-16"])
def test_a_mark_wins(requested):
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
    ):
        same = requested == encoding.removesuffix("-sig")
        assert found(mark + b"rest", requested) == (encoding, "" if same else "its byte order mark")
        assert found(mark, requested)[0] == encoding


@pytest.mark.parametrize("requested", ["gb18030", "cp1252", "utf-16", "shift_jis"])
def test_utf_8_is_read_as_utf_8(requested):
    for text in (CHINESE, GERMAN, "text,label\n" * 20_000 + "\U0001f602,p"):
        assert found(text.encode(), requested) == ("utf-8", "valid UTF-8")


@pytest.mark.parametrize("requested", ["utf-8", "gb18030", "cp1252", "iso2022_jp"])
def test_ascii_is_as_requested(requested):
    for data in (b"", b"a,b\n", b"a" * 100_000):
        assert found(data, requested) == (requested, "")


def test_ascii_with_a_wide_encoding_requested():
    assert found(b"a,b\n", "utf-16") == ("utf-8", "ASCII")
    assert detect_encoding([b""], "utf-16").reason == ""


@pytest.mark.parametrize("encoding", CANDIDATES)
@pytest.mark.parametrize("count", [1, 4000])
def test_others_are_as_requested_or_guessed(encoding, count):
    data = ("text,label\n" + TEXTS[encoding] * count).encode(encoding)
    assert len(data) > SAMPLE or count == 1
    assert found(data, encoding) == (encoding, "")
    assert found(data, "utf-8") == (encoding, "guessed, as it is not UTF-8")
    assert found(data, "ascii") == (encoding, "guessed, as it is not ASCII")


def test_a_line_longer_than_the_sample_is_guessed():
    data = (CHINESE.strip() * 5000).encode("gb18030")
    for size in (len(data), SAMPLE + 1, SAMPLE - 1, 999):
        assert found(data[:size] + b"\n" if size % 2 == 0 else data[:size], "utf-8")[0] == "gb18030"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["text,label\ngood,p\n" * 9, GERMAN, CHINESE * 9])
def test_utf_16_without_a_mark(encoding, text):
    data = text.encode(encoding)
    assert found(data, "utf-16") == (encoding, "" if encoding.endswith("le") else "its byte order")
    if text is not CHINESE * 9 and text.isascii():
        assert found(data, "gb18030") == (encoding, "guessed, as it is not GB18030")
        assert found(data, "utf-8") == (encoding, "guessed, as it is not UTF-8")


def test_damaged_utf_8_is_not_guessed():
    """So that its reader names the line."""
    rng = fresh_rng()
    for text in (CHINESE * 2000, GERMAN * 2000, "plain\n" * 50_000 + CHINESE, CHINESE * 2 + GERMAN):
        data = bytearray(text.encode())
        beyond = [place for place, byte in enumerate(data) if byte > 127]
        data[int(rng.choice(beyond))] = 0xFF
        assert found(bytes(data), "utf-8") == ("utf-8", "")
        for requested in ("gb18030", "cp1252"):
            assert found(bytes(data), requested) == ("utf-8", "")


@pytest.mark.parametrize("text", ["a\0b\n", CHINESE + "a\0b\n"])
def test_a_nul_byte_is_no_utf_16(text):
    assert found(text.encode(), "utf-8") == ("utf-8", "")
    assert found(text.encode(), "gb18030")[0] == ("gb18030" if text.isascii() else "utf-8")


SHORT = {
    "gb18030": [
        "\u5f88\u597d\u770b\n\u670d\u52a1\u592a\u5dee",
        "\u670d\u52a1\u592a\u5dee\u4e86",
        "\u6211\u975e\u5e38\u559c\u6b22",
    ],
    "big5": ["\u670d\u52d9\u592a\u5dee\u4e86", "\u6211\u975e\u5e38\u559c\u6b61"],
    "cp949": ["\uc11c\ube44\uc2a4\uac00 \ucd5c\uc545", "\uc7ac\ubbf8\uc788\uc5b4\uc694"],
    "cp932": ["\u6700\u60aa\u306e\u30b5\u30fc\u30d3\u30b9", "\u3068\u3066\u3082\u9762\u767d\u3044"],
    "cp1251": [
        "\u043f\u043b\u043e\u0445\u043e",
        "\u0423\u0436\u0430\u0441\u043d\u044b\u0439 \u0441\u0435\u0440\u0432\u0438\u0441",
    ],
}


@pytest.mark.parametrize("encoding", SHORT)
def test_short_texts_are_guessed(encoding):
    for text in SHORT[encoding]:
        assert found(text.encode(encoding))[0] == encoding, text


def test_few_bytes_are_not_guessed():
    for data in (b"plain\n" * 50_000 + b"\xff\n", "caf\u00e9\n".encode("cp1252") * 3):
        assert found(data, "utf-8") == ("utf-8", "")
    for text in ("caf\u00e9\n" * 4, "Tr\u00e8s d\u00e9\u00e7u, \u00e9t\u00e9\n", GERMAN):
        assert found(text.encode("cp1252"), "utf-8")[0] == "cp1252"


def test_the_beginning_of_a_stream_may_end_within_a_character():
    data = CHINESE.encode()[:-2]
    assert detect_encoding([data], "gb18030", whole=False) == Decoding("utf-8", "valid UTF-8")
    data = CHINESE.encode("gb18030")[:-2]
    assert detect_encoding([data], "gb18030", whole=False) == Decoding("gb18030")


@pytest.mark.parametrize(
    "encoding", ["utf-88", "hex", "cp037", "utf-7", "idna", "", "a\0", "x" * 99, "raw_unicode_escape"]
)
def test_an_encoding_of_no_text_files_is_refused(encoding):
    with pytest.raises(UserError) as error:
        check_encoding(encoding)
    assert "unknown" in one_line(error)


@pytest.mark.parametrize(
    "encoding", ["UTF8", "utf-8-sig", "gbk", "big5hkscs", "latin-1", "utf-16", "utf_32_be", "euc-kr"]
)
def test_encodings_of_text_files(encoding):
    check_encoding(encoding)
