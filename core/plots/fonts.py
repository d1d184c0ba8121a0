"""Fonts for pictures that show words of the user's own, in any script: class names, tokens, titles.

The font that matplotlib brings has no Chinese characters, among others. A character that no font has is never drawn
as a box: callers draw a number or a question mark, and say so in one line.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

DEFAULT = "DejaVu Sans"
"""The family that matplotlib brings: always tried first, so that Latin text looks the same in every picture."""
PREFERRED = (
    *("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "Noto Sans CJK JP"),
    *("Noto Sans CJK TC", "Noto Sans CJK KR", "Noto Sans TC", "Noto Sans JP", "Noto Sans KR", "Source Han Sans TC"),
    *("Source Han Sans", "Source Han Sans JP", "Source Han Sans KR", "PingFang SC", "Microsoft YaHei", "SimHei"),
    *("Hiragino Sans GB", "Heiti SC", "Heiti TC", "STHeiti", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei"),
    *("Droid Sans Fallback", "Arial Unicode MS", "SimSun", "Songti SC", "Yu Gothic", "Malgun Gothic"),
)
"""Families with Chinese, Japanese or Korean characters, the best to read in a picture first."""
BOXES = ("Last Resort", "LastResort", "Adobe Blank", ".")
"""How the names of families begin that claim characters without having their shapes; and those that macOS hides."""
CHARACTER = 0.06
"""About how wide a character of 7 points is, in inches."""
LABEL_LIMIT = 18
"""Most columns of a label that are drawn; a Chinese character takes two."""
LISTED = 8
"""Most characters that a message lists."""
CJK = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "IDEOGRAPHIC", "BOPOMOFO", "FULLWIDTH")


def fonts_for(texts: Iterable[str]) -> tuple[list[str], frozenset[str]]:
    """Return font families to try in turn, for `fontfamily`, and the characters of `texts` that none of them has.

    Besides matplotlib's own as few as will do: the first of `PREFERRED`, then of all others, that has what is missing;
    where none has it all, the one that has most of it, and so on.
    """
    families, missing = _search(frozenset("".join(texts)) - {"\n"})
    return list(families), missing


def drawable(text: str, missing: frozenset[str] = frozenset()) -> str:
    """`text` with a question mark for what moves the pen, and for each stretch of `missing`; line ends stay."""
    text = "".join(character if character == "\n" else _printable(character) for character in text)
    return re.sub(f"[{re.escape(''.join(sorted(missing)))}]+", "?", text) if missing else text


def shortened(text: str, limit: int = LABEL_LIMIT) -> str:
    """One line of at most `limit` columns: without characters that move the pen, and cut where it is long."""
    text = "".join(map(_printable, text))
    if columns(text) <= limit:
        return text
    while columns(text) > limit - 1:
        text = text[:-1]
    return text + "\u2026"


def columns(text: str) -> int:
    """How wide a text is, in characters; a Chinese character is as wide as two others."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def extent(label: str, points: float = 7.0) -> float:
    """About how long a label is, in inches."""
    return CHARACTER * points / 7.0 * columns(label)


def no_font(texts: Iterable[str], missing: frozenset[str]) -> tuple[str, str]:
    """How a message begins that `missing` cannot be drawn, naming them as they come in `texts`; and what to do."""
    found = list(dict.fromkeys(character for character in "".join(texts) if character in missing))
    named = "".join(found[:LISTED]) + "\u2026" * (len(found) > LISTED)
    is_cjk = any(unicodedata.name(character, "").startswith(CJK) for character in found)
    return f"no font here shows {named}", "install one, as fonts-noto-cjk" if is_cjk else "install one that does"


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if unicodedata.category(character) == "Zs" else "?"


@lru_cache(maxsize=256)
def _search(characters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """`fonts_for` of a set of characters."""
    if all(" " <= character <= "~" for character in characters):
        return (DEFAULT,), frozenset()  # and matplotlib need not be imported
    missing = characters - _in_family(DEFAULT, characters)
    if not missing:
        return (DEFAULT,), missing
    families, left = _cover(missing)
    if left and _add_new_fonts():
        families, left = _cover(missing)
    return (DEFAULT, *families), left


def _cover(missing: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """Families that have as much of `missing` as can be had, and what is left of it."""
    found: dict[str, frozenset[str]] = {}
    for family, file in _installed().items():
        # Which of its files a family's name stands for takes long to find out: only where one of them promises much.
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
    """Families that may be chosen, in order, and a file of each. Of matplotlib's own none: those are for formulas."""
    import matplotlib
    from matplotlib import font_manager

    files: dict[str, str] = {}
    for entry in font_manager.fontManager.ttflist:
        if not entry.name.startswith(BOXES) and not str(entry.fname).startswith(matplotlib.get_data_path()):
            files.setdefault(entry.name, str(entry.fname))
    names = [*(name for name in PREFERRED if name in files), *sorted(files.keys() - set(PREFERRED))]
    return {name: files[name] for name in names}


def _in_family(family: str, characters: frozenset[str]) -> frozenset[str]:
    """Return those of `characters` that the file has which matplotlib takes for a family."""
    from matplotlib import font_manager

    wanted = font_manager.FontProperties(family=[family])
    try:
        return _in_file(font_manager.fontManager.findfont(wanted, fallback_to_default=False), characters)
    except ValueError:
        return frozenset()


def _in_file(path: str, characters: frozenset[str]) -> frozenset[str]:
    """Return those of `characters` that the first font in a file has: none if the file is gone or is no font."""
    from matplotlib import font_manager

    try:
        font = font_manager.get_font(path)
    except (OSError, RuntimeError):
        return frozenset()
    return frozenset(character for character in characters if font.get_char_index(ord(character)))


def _add_new_fonts() -> bool:
    """Tell matplotlib of the fonts that were installed after it made its list, which it keeps between processes and
    does not renew: who follows the advice of `no_font` would not see any change. False if there are none."""
    from matplotlib import font_manager

    manager = font_manager.fontManager
    before = len(manager.ttflist)
    for path in sorted(set(font_manager.findSystemFonts()) - {str(entry.fname) for entry in manager.ttflist}):
        try:
            manager.addfont(path)
        except Exception:  # whatever a damaged font brings about: matplotlib leaves it out, too
            continue
    return len(manager.ttflist) > before
