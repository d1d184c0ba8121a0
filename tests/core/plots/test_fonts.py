"""Fonts for a user's own words (`core/plots/fonts.py`), and the pictures that show such words: the confusion matrix
(`core/plots/confusion.py`), labels and titles of gates, titles of curves. Whatever fonts the machine has."""

from __future__ import annotations

import itertools
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from core.analysis.gates import QUANTITIES
from core.plots import fonts
from core.plots.confusion import LISTED, NAMED, NUMBERED, confusion_figure, draw_confusion, numbering
from core.plots.curves import draw_curves
from core.plots.gates import draw_gates, gate_figure, token_labels

ROOT = Path(__file__).parents[3]
CHINESE, GOOD, BAD, CUNEIFORM = "Test Hanzi", "\u597d\u8bc4", "\u5dee\u8bc4", "\U00012000"
TWO = np.array([[10432, 2068], [4, 10789]])


@pytest.fixture(autouse=True)
def strict():
    """A warning of matplotlib's, of a missing character say, fails a test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def font_file(path: Path, family: str, characters: str) -> Path:
    """A TrueType font whose characters are all the same square."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for corner in ((100, 800), (900, 800), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    names = {ord(character): f"u{ord(character):04x}" for character in characters}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap(names)
    builder.setupGlyf(dict.fromkeys((".notdef", *names.values()), square))
    builder.setupHorizontalMetrics(dict.fromkeys((".notdef", *names.values()), (1000, 100)))
    builder.setupHorizontalHeader(ascent=880, descent=-120)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=880, usWinAscent=880, usWinDescent=120)
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def machine(monkeypatch):
    """Has matplotlib's own fonts alone; call it with files of fonts to install them as a user would, while matplotlib
    keeps its list. Afterwards all is as it was."""
    import matplotlib
    from matplotlib import font_manager

    manager, own = font_manager.fontManager, matplotlib.get_data_path()
    listed = [entry for entry in manager.ttflist if str(entry.fname).startswith(own)]
    monkeypatch.setattr(manager, "ttflist", listed)
    installed: list[str] = []
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda *_, **__: installed)

    def install(*files: Path) -> None:
        installed.extend(map(str, files))
        fonts._search.cache_clear()

    manager._findfont_cached.cache_clear()
    fonts._search.cache_clear()
    yield install
    manager._findfont_cached.cache_clear()
    fonts._search.cache_clear()


@pytest.fixture
def hanzi(machine, tmp_path) -> str:
    """A font with the Chinese characters of these tests, installed."""
    machine(font_file(tmp_path / "hanzi.ttf", CHINESE, GOOD + BAD))
    return CHINESE


def size_of(png: Path) -> tuple[int, int]:
    """Width and height in pixels."""
    data = png.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", data[16:24])


def labels_of(figure) -> tuple[list[str], list[str]]:
    axes = figure.axes[0]
    return tuple([label.get_text() for label in own()] for own in (axes.get_xticklabels, axes.get_yticklabels))


def cells_of(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


# Fonts


def families_for(texts: list[str]) -> list[str] | None:
    """The families that have every character of `texts`; None where there are none."""
    families, missing = fonts.fonts_for(texts)
    return None if missing else families


def test_latin_text_keeps_its_font():
    assert families_for(["plain", "na\u00efve\ncaf\u00e9", ""]) == [fonts.DEFAULT]
    assert families_for([]) == [fonts.DEFAULT]


def test_of_this_machine_a_font_has_what_it_promises():
    """Whichever those are: nothing is missing from the families, or none are given."""
    families, missing = fonts.fonts_for([GOOD, BAD, "a"])
    assert families[0] == fonts.DEFAULT and missing <= set(GOOD + BAD)
    assert families_for([GOOD, BAD, "a"]) == (None if missing else families)
    figure, legend = confusion_figure(TWO, [BAD, GOOD], GOOD)
    assert bool(legend) == bool(missing)
    figure.canvas.draw()


def test_nothing_is_found_where_nothing_is_installed(machine):
    """Matplotlib's own font of last resort, which claims everything, is none."""
    assert families_for([GOOD]) is None
    assert fonts.fonts_for([GOOD, "a"]) == ([fonts.DEFAULT], frozenset(GOOD))


def test_fonts_installed_after_matplotlib_made_its_list_are_found(machine, tmp_path):
    machine(tmp_path / "gone.ttf", font_file(tmp_path / "hanzi.ttf", CHINESE, GOOD))
    (tmp_path / "broken.ttf").write_bytes(b"\0\1\0\0 no font")
    machine(tmp_path / "broken.ttf")
    assert families_for([GOOD]) == [fonts.DEFAULT, CHINESE]
    assert fonts.fonts_for([BAD])[1] == {BAD[0]}


def test_the_preferred_font_comes_first_and_several_are_put_together(machine, tmp_path):
    machine(
        font_file(tmp_path / "a.ttf", "A Font", GOOD),
        font_file(tmp_path / "s.ttf", "SimHei", GOOD),
        font_file(tmp_path / "c.ttf", "Clay", CUNEIFORM),
    )
    assert families_for([GOOD]) == [fonts.DEFAULT, "SimHei"]
    assert families_for([GOOD, CUNEIFORM]) == [fonts.DEFAULT, "SimHei", "Clay"]
    assert fonts.fonts_for([GOOD, BAD])[1] == {BAD[0]}


def test_what_can_be_drawn():
    assert fonts.shortened(GOOD * 20, 7) == GOOD * 1 + GOOD[0] + "\u2026"
    assert fonts.shortened("a\u3000b\xa0c\nd") == "a b c?d" and fonts.shortened("x" * 18) == "x" * 18
    assert fonts.drawable(f"a\tb\n{GOOD}-]c", frozenset(GOOD + "-]^")) == "a?b\n?c"
    assert fonts.columns(GOOD + "ab") == 6
    assert fonts.no_font([BAD, GOOD], frozenset(GOOD)) == (
        f"no installed font has {GOOD[1]}{GOOD[0]}",
        "install one that does, such as fonts-noto-cjk",
    )
    assert "noto" not in fonts.no_font([CUNEIFORM], frozenset(CUNEIFORM))[1]


def test_neither_matplotlib_nor_a_framework_is_imported_for_nothing():
    code = "import sys, core.plots.confusion, core.plots.fonts; core.plots.fonts.fonts_for(['abc'])\n"
    code += "print([name for name in ('matplotlib', 'torch', 'paddle') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


# The confusion matrix


def test_counts_and_shares(hanzi, tmp_path):
    """Rows are the true classes, from the top; names in the font that has them."""
    figure, legend = confusion_figure(TWO, [BAD, GOOD], f"{GOOD} $x$ a_b")
    assert legend == {} and labels_of(figure) == ([BAD, GOOD], [BAD, GOOD])
    assert cells_of(figure) == ["10,432", "83 %", "2,068", "17 %", "4", "<1 %", "10,789", ">99 %"]
    assert figure._suptitle.get_text() == f"{GOOD} $x$ a_b"
    for text in (figure._suptitle, figure.axes[0].get_xticklabels()[0]):
        assert text.get_fontfamily() == [fonts.DEFAULT, hanzi] and not text.get_parse_math()
    assert figure.axes[0].get_xlabel() == "predicted class" and figure.axes[0].get_ylabel() == "true class"
    assert draw_confusion(TWO, [BAD, GOOD], GOOD, tmp_path / "a.png") == {}
    width, height = size_of(tmp_path / "a.png")
    assert 350 < width < 600 and 300 < height < 500


def test_without_a_font_classes_are_numbered(machine, tmp_path):
    classes = [BAD, GOOD, "plain"]
    legend = draw_confusion(np.eye(3, dtype=int), classes, f"of {GOOD}", tmp_path / "a.png")
    assert legend == {1: BAD, 2: GOOD, 3: "plain"}
    figure, _ = confusion_figure(np.eye(3, dtype=int), classes, f"of {GOOD}")
    assert labels_of(figure) == (["1", "2", "3"], ["1", "2", "3"]) and figure._suptitle.get_text() == "of ?"
    assert numbering(legend, "a.png") == (
        f"no installed font has {BAD}{GOOD[0]}: classes are numbered in a.png (1 {BAD}, 2 {GOOD}, 3 plain);"
        " install one that does, such as fonts-noto-cjk"
    )
    many = numbering({number: f"{GOOD}\n{number}" for number in range(1, 200)}, "a.png")
    assert (
        "\n" not in many
        and f"{LISTED} {GOOD}?{LISTED}, ... in the order of the classes" in many
        and f"{LISTED + 1} " not in many
    )


def test_a_row_without_texts(rng):
    """Is grey, its zeros without shares; and so where there is no text at all."""
    confusion = rng.integers(1, 9, (4, 4))
    confusion[2] = 0
    figure, _ = confusion_figure(confusion, list("abcd"), "")
    shares = figure.axes[0].images[0].get_array()
    assert np.ma.getmaskarray(shares)[2].all() and np.allclose(shares.sum(axis=1)[[0, 1, 3]], 1)
    assert cells_of(figure).count("0") == 4
    confusion_figure(confusion * 0, list("abcd"), "")[0].canvas.draw()


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, 7, NUMBERED, NUMBERED + 1, NAMED + 1, 300])
def test_any_number_of_classes(number, rng):
    """Names are whole or cut, thinned where there are many, and do not cover each other."""
    confusion = rng.integers(0, 2000, (number, number))
    classes = [f"{place}_$a$ {'long' * (place % 9)}" for place in range(number)]
    figure, _ = confusion_figure(confusion, classes, "a title\nof two lines")
    figure.canvas.draw()
    cells, (across, down) = cells_of(figure), labels_of(figure)
    assert (across == down and len(down) == number) or number > NAMED
    assert bool(cells) == (number <= NUMBERED)
    axes = figure.axes[0]
    for own, along in ((axes.get_xticklabels(), ("x0", "x1")), (axes.get_yticklabels(), ("y0", "y1"))):
        spans = sorted(tuple(getattr(label.get_window_extent(), end) for end in along) for label in own)
        assert all(end <= start + 0.5 for (_, end), (start, _) in itertools.pairwise(spans))
    whole = figure.get_tightbbox()
    assert whole.x0 >= -0.02 and whole.y0 >= -0.02
    assert whole.x1 <= figure.get_figwidth() + 0.02 and whole.y1 <= figure.get_figheight() + 0.02
    assert min(figure.get_size_inches()) > 1.5 and max(figure.get_size_inches()) < 13.0


def test_shapes_must_fit():
    for classes in ([], ["a"], ["a", "b", "c"]):
        with pytest.raises(ValueError, match="confusion matrix of shape"):
            confusion_figure(TWO, classes, "")


# Other pictures


def gates(rng, tokens: list[str]) -> tuple:
    return {quantity.name: rng.uniform(-1, 1, (len(tokens), 9)) for quantity in QUANTITIES["gru"]}, QUANTITIES["gru"]


def test_tokens_of_a_font(hanzi, rng, tmp_path):
    tokens = [GOOD, "a", BAD]
    figure = gate_figure(*gates(rng, tokens), tokens, f"predicted: {GOOD}")
    assert labels_of(figure)[0] == tokens and figure._suptitle.get_text() == f"predicted: {GOOD}"
    assert figure.axes[0].get_xticklabels()[0].get_fontfamily() == [fonts.DEFAULT, hanzi]
    draw_gates(*gates(rng, tokens), tokens, GOOD, tmp_path / "a.png")


def test_tokens_without_a_font(machine, rng, tmp_path):
    tokens = [GOOD, "a", BAD]
    assert token_labels(tokens)[0] == ["#1", "a", "#3"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        draw_gates(*gates(rng, tokens), tokens, f"predicted: {GOOD}", tmp_path / "a.png")
    assert [str(entry.message) for entry in caught] == [
        f"no installed font has {GOOD}{BAD[0]}: tokens with such characters are numbered by position in a.png"
        f" (#1 {GOOD}, #3 {BAD}); install one that does, such as fonts-noto-cjk"
    ]


def test_the_title_of_curves(machine, tmp_path):
    lines = [{"split": "train", "step": step, "loss": 1.0, "accuracy": 0.5, "counted": 2} for step in (1, 2, 3)]
    draw_curves(lines, f"{GOOD} $x", tmp_path / "a.png", "mean")
    assert size_of(tmp_path / "a.png") == (990, 396)
