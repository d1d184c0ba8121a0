"""Which pictures tests render."""

from __future__ import annotations

import io

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from tests import pictures
from tests.pictures import LOOKING, PIXEL, begin, renders


@pytest.fixture
def drawn(request, monkeypatch, tmp_path):
    """A function that draws a picture as a test of a name would, and returns its file."""
    monkeypatch.setattr(pictures, "_rendered", set())
    monkeypatch.setattr(pictures, "RENDERED", 0.0)

    def draw(test: str, kind: str = "png", path: bool = False) -> bytes:
        begin(test)
        file = tmp_path / f"picture.{kind}" if path else io.BytesIO()
        Figure((1.0, 1.0)).savefig(file, format=None if path else kind)
        return file.read_bytes() if path else file.getvalue()

    yield draw
    monkeypatch.undo()
    begin(request.node.nodeid)


@pytest.mark.parametrize("path", [False, True])
def test_after_the_first_a_picture_is_a_pixel(drawn, path):
    first, second = (drawn("tests/tasks/test_imdb.py::test", path=path) for _ in range(2))
    assert len(first) > len(second) and second == PIXEL and first.startswith(PIXEL[:8])
    assert np.array_equal(matplotlib.image.imread(io.BytesIO(PIXEL)), [[1.0]])
    assert drawn(f"{LOOKING[0]}test_gates.py::test", path=path) == first
    for _ in range(2):
        assert b"<svg" in drawn("tests/tasks/test_imdb.py::test", "svg", path)


def test_a_sample_of_the_other_tests_renders():
    share = np.mean([renders(f"tests/tasks/test_imdb.py::test_{number}") for number in range(4000)])
    assert 0.05 < share < 0.15 and renders(f"{LOOKING[-1]}test_modes.py::test")
