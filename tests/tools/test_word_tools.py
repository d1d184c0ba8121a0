"""The tools of docs/words.md: equal shares of words, one timing, and the picture of the windows."""

from __future__ import annotations

import re

import numpy as np
import pytest

from backends import kernels
from tools import word_pictures, word_speed
from tools.modes import DOCS


def test_the_equal_share_keeps_as_many_words_as_the_other_formula(rng):
    counts = np.sort(rng.integers(5, 100_000, 500))[::-1]
    subsample = float(rng.uniform(1e-6, 1e-4))
    found = word_speed.equal_share(counts, subsample)
    wanted = word_speed.kept_share(counts, subsample, like_gensim=True)
    assert word_speed.kept_share(counts, found) == pytest.approx(wanted, rel=1e-9)
    assert found > subsample


@pytest.mark.parametrize("kind", word_speed.KINDS)
def test_a_timing_counts_all_words_and_keeps_the_expected_share(kind, rng, tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "_threads", None)  # restored afterwards
    path = tmp_path / "corpus.txt"
    lines = [" ".join(f"w{n}" for n in rng.zipf(1.3, 60) % 50) for _ in range(200)]
    path.write_text("\n".join(lines), encoding="utf-8")
    found = word_speed.train_here(path, kind, 2, None)
    assert found["words"] == 200 * 60 and found["predictions"] > 0 and found["cpu"] > 0.0
    assert found["subsample"] > word_speed.SUBSAMPLE


def test_the_committed_pictures_are_those_of_the_page():
    page = (DOCS / "words.md").read_text(encoding="utf-8")
    drawn = {"windows.svg", "subsampling.png", "noise.png"}
    assert {path.name for path in (DOCS / "words").iterdir()} == drawn
    assert all(f"words/{name})" in page for name in drawn)
    texts = {text.get_text() for axes in word_pictures.draw_windows().axes for text in axes.texts}
    committed = (DOCS / "words" / "windows.svg").read_text(encoding="utf-8")
    assert texts - {""} <= set(re.findall(r">([^<>]+)</text>", committed))
