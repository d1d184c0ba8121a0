"""A guess of the encoding of texts by charset-normalizer, among common ones."""

from __future__ import annotations

import re

CANDIDATES = ("gb18030", "big5", "cp932", "cp949", "cp1252", "cp1251")
"""Encodings to guess from: Chinese, Japanese, Korean, Western, Cyrillic. More of them make short texts ambiguous."""

COMMON = {
    "gb18030": (*range(0xA1, 0xA4), *range(0xB0, 0xD8)),
    "big5": (*range(0xA1, 0xC7),),
    "cp932": (0x81, 0x82, 0x83, *range(0x88, 0x98)),
    "cp949": (*range(0xA1, 0xA4), *range(0xB0, 0xC9)),
}
"""First bytes of punctuation and of the more common characters: level 1 of GB 2312, Big5 and JIS, and Hangul."""

PLAUSIBLE = 0.8
"""Smallest share of common characters."""

FEWEST = 4
"""Fewest bytes beyond ASCII from which an encoding is guessed."""


def guess_encoding(sample: bytes) -> str:
    """Return the encoding of complete lines, of which the last may be cut, "" if it is unknown."""
    beyond = re.findall(rb"[\x80-\xff]+", sample)
    if sum(map(len, beyond)) < FEWEST:
        return ""
    from charset_normalizer import from_bytes

    # charset-normalizer takes short texts for Korean or traditional Chinese, and accents for parts of characters.
    accents = sum(map(len, beyond)) < 0.4 * len(sample) and 2 * sum(len(run) == 1 for run in beyond) > len(beyond)
    candidates = ["cp1252"] if accents else [name for name in CANDIDATES if _is_plausible(sample, name)]
    for threshold in (0.2, 0.5):
        for end in range(4):  # the sample may end within a character
            found = from_bytes(sample[: len(sample) - end], cp_isolation=candidates, threshold=threshold).best()
            if found is not None:
                return found.encoding
    return ""


def _is_plausible(sample: bytes, encoding: str) -> bool:
    """Return whether a text in a two-byte encoding would consist of common characters."""
    if encoding not in COMMON:
        return True
    codes = [own.encode(encoding, "ignore") for own in sample.decode(encoding, "replace") if not own.isascii()]
    codes = [code for code in codes if len(code) < 4]  # GB 18030 has emoji in four bytes
    common = sum(len(code) == 2 and code[0] in COMMON[encoding] and _in_level(code, encoding) for code in codes)
    return common >= PLAUSIBLE * len(codes)


def _in_level(code: bytes, encoding: str) -> bool:
    """Return whether a second byte is that of GB 2312 or KS X 1001, not of their extensions."""
    return code[1] >= 0xA1 or encoding in ("big5", "cp932")
