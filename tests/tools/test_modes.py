"""The pictures of docs/modes.md are those that the script draws: the same texts, in one SVG each."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tools import modes


def texts(path: Path) -> list[str]:
    """The texts of an SVG, in order."""
    tree = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    return ["".join(node.itertext()).strip() for node in tree.iter() if node.tag.endswith("}text")]


@pytest.mark.parametrize("name", modes.PICTURES)
def test_the_committed_picture_is_the_drawn_one(name, tmp_path):
    (drawn,) = [path for path in modes.draw(tmp_path) if path.stem == name]
    committed = modes.DOCS / "modes" / drawn.name
    assert texts(drawn) == texts(committed) and len(texts(drawn)) >= 10
    assert not re.search(
        r"https?://(?!www\.w3\.org|purl\.org|creativecommons)", drawn.read_text().partition("-->")[2][300:]
    )
    page = (modes.DOCS / "modes.md").read_text(encoding="utf-8")
    assert f"modes/{drawn.name})" in page
