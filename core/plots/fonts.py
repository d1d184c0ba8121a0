"""Fonts for plots with user text in any script: class names, tokens, titles.

matplotlib's font has no Chinese characters, for example. A character without a font is never drawn as a box: callers
draw a number or a question mark instead, and warn in one line.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

DEFAULT = "DejaVu Sans"
"""matplotlib's font family, tried first, so that Latin text looks the same in all plots."""
PREFERRED = (
    *("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "Noto Sans CJK JP"),
    *("Noto Sans CJK TC", "Noto Sans CJK KR", "Noto Sans TC", "Noto Sans JP", "Noto Sans KR", "Source Han Sans TC"),
    *("Source Han Sans", "Source Han Sans JP", "Source Han Sans KR", "PingFang SC", "Microsoft YaHei", "SimHei"),
    *("Hiragino Sans GB", "Heiti SC", "Heiti TC", "STHeiti", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei"),
    *("Droid Sans Fallback", "Arial Unicode MS", "SimSun", "Songti SC", "Yu Gothic", "Malgun Gothic"),
)
"""Families with Chinese, Japanese or Korean characters, most legible first."""
BOXES = ("Last Resort", "LastResort", "Adobe Blank", ".")
"""Name prefixes of families without real glyphs, and of hidden families of macOS."""
CHARACTER = 0.06
"""Approximate width of a character at 7 points, in inches."""
LABEL_LIMIT = 18
"""Maximum width of a label in columns; a Chinese character has two."""
LISTED = 8
"""Maximum number of characters that a message lists."""
CJK = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "IDEOGRAPHIC", "BOPOMOFO", "FULLWIDTH")


def fonts_for(texts: Iterable[str]) -> tuple[list[str], frozenset[str]]:
    """Return font families for `fontfamily`, and the characters that none of them has.

    In addition to matplotlib's font, as few families as possible are used: the first of `PREFERRED`, then of all
    others, that has all missing characters; if there is none, repeatedly the one with the most missing characters.
    """
    families, missing = _search(frozenset("".join(texts)) - {"\n"})
    return list(families), missing


def drawable(text: str, missing: frozenset[str] = frozenset()) -> str:
    """Replace control characters, and sequences of `missing` ones, by question marks.

    Keep newlines.
    """
    text = "".join(character if character == "\n" else _printable(character) for character in text)
    return re.sub(f"[{re.escape(''.join(sorted(missing)))}]+", "?", text) if missing else text


def shortened(text: str, limit: int = LABEL_LIMIT) -> str:
    """Return one line without control characters, truncated to `limit` columns."""
    text = "".join(map(_printable, text))
    if columns(text) <= limit:
        return text
    while columns(text) > limit - 1:
        text = text[:-1]
    return text + "\u2026"


def columns(text: str) -> int:
    """Return the width of a text in columns; a Chinese character has two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def extent(label: str, points: float = 7.0) -> float:
    """Return the approximate width of a label, in inches."""
    return CHARACTER * points / 7.0 * columns(label)


def no_font(texts: Iterable[str], missing: frozenset[str]) -> tuple[str, str]:
    """Return the reason and the fix of a message about `missing` characters of `texts`."""
    found = list(dict.fromkeys(character for character in "".join(texts) if character in missing))
    named = "".join(found[:LISTED]) + "\u2026" * (len(found) > LISTED)
    is_cjk = any(unicodedata.name(character, "").startswith(CJK) for character in found)
    return f"no installed font has {named}", f"install one that does{', such as fonts-noto-cjk' if is_cjk else ''}"


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if unicodedata.category(character) == "Zs" else "?"


@lru_cache(maxsize=256)
def _search(characters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Search families for a set of characters, as in `fonts_for`."""
    if all(" " <= character <= "~" for character in characters):
        return (DEFAULT,), frozenset()  # without importing matplotlib
    missing = characters - _in_family(DEFAULT, characters)
    if not missing:
        return (DEFAULT,), missing
    families, left = _cover(missing)
    if left and _add_new_fonts():
        families, left = _cover(missing)
    return (DEFAULT, *families), left


def _cover(missing: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """Return families that cover most `missing` characters, and the uncovered characters."""
    found: dict[str, frozenset[str]] = {}
    for family, file in _installed().items():
        # Finding the default file of a family is slow, so any file of the family is checked first.
        if _in_file(file, missing) and (own := _in_family(family, missing)):
            if own == missing:
                return [family], frozenset()
            found[family] = own
    families: list[str] = []
    while missing & frozenset().union(*found.values()):
        best = max(found, key=lambda family: len(found[family] & missing))
        families.append(best)
        missing -= found[best]
    return families, missing


def _installed() -> dict[str, str]:
    """Return candidate families in order, with one file each, without matplotlib's own fonts."""
    import matplotlib
    from matplotlib import font_manager

    files: dict[str, str] = {}
    for entry in font_manager.fontManager.ttflist:
        if not entry.name.startswith(BOXES) and not str(entry.fname).startswith(matplotlib.get_data_path()):
            files.setdefault(entry.name, str(entry.fname))
    names = [*(name for name in PREFERRED if name in files), *sorted(files.keys() - set(PREFERRED))]
    return {name: files[name] for name in names}


def _in_family(family: str, characters: frozenset[str]) -> frozenset[str]:
    """Return the `characters` that the default file of a family has."""
    from matplotlib import font_manager

    wanted = font_manager.FontProperties(family=[family])
    try:
        return _in_file(font_manager.fontManager.findfont(wanted, fallback_to_default=False), characters)
    except ValueError:
        return frozenset()


def _in_file(path: str, characters: frozenset[str]) -> frozenset[str]:
    """Return the `characters` of the first font in a file, none for a missing or invalid file."""
    from matplotlib import font_manager

    try:
        font = font_manager.get_font(path)
    except (OSError, RuntimeError):
        return frozenset()
    return frozenset(character for character in characters if font.get_char_index(ord(character)))


def _add_new_fonts() -> bool:
    """Register fonts that were installed after matplotlib cached its font list.

    The cache persists between processes, so that the advice of `no_font` would otherwise have no effect. Returns False
    if there are no new fonts.
    """
    from matplotlib import font_manager

    manager = font_manager.fontManager
    before = len(manager.ttflist)
    for path in sorted(set(font_manager.findSystemFonts()) - {str(entry.fname) for entry in manager.ttflist}):
        try:
            manager.addfont(path)
        except Exception:  # a damaged font can raise any exception; matplotlib skips it, too
            continue
    return len(manager.ttflist) > before
