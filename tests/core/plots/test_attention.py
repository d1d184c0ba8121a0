"""The heat map of attention."""

from __future__ import annotations

import numpy as np
import pytest

from core.plots.attention import LARGEST, AttentionMap, attention_figure, draw_attention


def a_map(rng, output: int, source: int, token: str = "x") -> AttentionMap:
    weights = rng.dirichlet(np.ones(source), output)
    return AttentionMap([f"{token}{n}" for n in range(source)], [f"y{n}" for n in range(output)], weights)


def test_figure_shows_weights_and_tokens(rng):
    maps = [a_map(rng, 3, 5), a_map(rng, 1, 1), a_map(rng, LARGEST + 9, LARGEST + 3)]
    figure = attention_figure(maps, "run\nsecond line")
    axes = figure.axes[:3]
    for own, axis in zip(maps, axes, strict=True):
        shown = axis.images[0].get_array()
        np.testing.assert_array_equal(shown, own.weights[:LARGEST, :LARGEST])
        assert [label.get_text() for label in axis.get_xticklabels()] == own.source[:LARGEST]
        assert [label.get_text() for label in axis.get_yticklabels()] == own.output[:LARGEST]


def test_characters_without_a_font_do_not_stop_it(rng, tmp_path):
    draw_attention([a_map(rng, 2, 3, "\U0001d7d8\x07$")], "title $x$ \x1b", tmp_path / "attention.png")
    assert (tmp_path / "attention.png").read_bytes().startswith(b"\x89PNG")


def test_other_shapes_are_refused(rng):
    with pytest.raises(ValueError, match="at least one"):
        attention_figure([], "")
    own = a_map(rng, 2, 3)
    with pytest.raises(ValueError, match="expected \\[3, 2\\]"):
        attention_figure([AttentionMap(own.output, own.source, own.weights)], "")
