"""Maps of words as pictures (`core/plots/words.py`)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from core.plots.words import DPI, draw_words, word_figure
from core.words.word_map import WordMap


def a_plan(rng: np.random.Generator, words: list[str], spread: float = 1.0, **changes) -> WordMap:
    settings = {"groups": [n % 3 for n in range(len(words))], "queries": {0}, "arrows": [], **changes}
    return WordMap(words, rng.normal(size=(len(words), 2)) * spread, (0.4, 0.123), **settings)


def labels_of(figure) -> dict[str, object]:
    return {text.get_text(): text for text in figure.axes[0].texts if text.get_text()}


def test_labels_do_not_overlap(rng):
    """Of words in clusters, and they stay inside the frame."""
    words = [f"word{n}{'x' * (n % 7)}" for n in range(40)]
    plan = a_plan(rng, words)
    plan.coordinates[:20] = plan.coordinates[:20] * 0.1 + 1.0
    figure = word_figure(plan, "title")
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    labels = labels_of(figure)
    assert list(labels) == words
    boxes = [text.get_window_extent(renderer) for text in labels.values()]
    for one, other in itertools.combinations(boxes, 2):
        shared = np.minimum(one.max, other.max) - np.maximum(one.min, other.min)
        assert (shared <= 1.0).any()  # a pixel, as places are rounded
    frame = figure.axes[0].get_window_extent()
    for box in boxes:
        assert (box.min >= frame.min - 1).all() and (box.max <= frame.max + 1).all()


def test_wide_labels_stay_inside_the_frame(rng):
    plan = a_plan(rng, ["m" * 18, "w" * 18, "middle"])
    plan.coordinates[:] = (5.0, 0.0), (-5.0, 1.0), (0.0, 0.0)
    figure = word_figure(plan, "title")
    figure.draw_without_rendering()
    frame = figure.axes[0].get_window_extent()
    for text in labels_of(figure).values():
        box = text.get_window_extent(figure.canvas.get_renderer())
        assert (box.min >= frame.min - 1).all() and (box.max <= frame.max + 1).all()


def test_points_queries_and_arrows(rng):
    plan = a_plan(rng, ["man", "woman", "son", "$daughter$"], queries={0, 3}, arrows=[(0, 1), (2, 3)])
    figure = word_figure(plan, "man is to woman\x1b as $x$")
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), plan.coordinates)
    weights = [text.get_fontweight() for text in labels_of(figure).values()]
    assert weights == ["bold", "normal", "normal", "bold"]
    arrows = [(text.xyann, text.xy) for text in axes.texts if text.arrow_patch]
    np.testing.assert_array_equal(arrows, plan.coordinates[[[0, 1], [2, 3]]])
    assert axes.get_xlabel() == "principal component 1 (40.0% of the variance)" and "2 (12.3%" in axes.get_ylabel()
    assert figure._suptitle.get_text() == "man is to woman? as $x$"
    assert figure.dpi == DPI and axes.get_aspect() == 1.0


@pytest.mark.parametrize("words", [["a", "b"], ["same"] * 5])
def test_equal_places(rng, words):
    plan = a_plan(rng, words, spread=0.0)
    assert len([text for text in word_figure(plan, "t").axes[0].texts if text.get_text()]) == len(words)


def test_words_without_a_font_are_numbered(rng, tmp_path):
    plan = a_plan(rng, ["film", "\U0001d7d8\U00013000", "plot"])
    with pytest.warns(UserWarning, match=r"such words are numbered in map.png \(#2 .*\); install one") as seen:
        draw_words(plan, "title", tmp_path / "map.png")
    assert len(seen) == 1 and (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    assert list(labels_of(word_figure(plan, "t"))) == ["film", "#2", "plot"]
