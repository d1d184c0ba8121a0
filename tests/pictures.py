"""Pictures that no test looks at are not rendered, which takes most of the CPU time of a small run.

Figures are composed as ever, and what fails in that fails the test; their PNG file is one pixel. The first picture of
a function in a test process is rendered. So are all those of the tests in `LOOKING`, of a sample of the others, drawn
anew in every session (`tests/pairwise.py`), and of processes that tests start.
"""

from __future__ import annotations

import functools
import random
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

from tests.pairwise import SAMPLE

RENDERED = 0.1
"""Share of the other tests that render their pictures."""
LOOKING = ("tests/core/analysis/", "tests/core/plots/", "tests/core/report/", "tests/tools/")
"""Where tests look at pictures."""


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PIXEL = (
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    + _chunk(b"IDAT", zlib.compress(b"\0\xff"))
    + _chunk(b"IEND", b"")
)
"""A PNG file of one white pixel."""

_rendering = True
_rendered: set[object] = set()
"""Code of the functions whose pictures were rendered."""


def renders(test: str) -> bool:
    """Return whether a test, by its node ID, renders its pictures."""
    return test.startswith(LOOKING) or random.Random(f"{SAMPLE} {test}").random() < RENDERED


def begin(test: str) -> None:
    """Let the test that begins render its pictures or not, if matplotlib is imported already."""
    global _rendering
    _rendering = renders(test)
    figures = sys.modules.get("matplotlib.figure")
    if figures is not None and not hasattr(figures.Figure.savefig, "pixel"):
        figures.Figure.savefig = _replaced(figures.Figure.savefig)


def _replaced(savefig: Any) -> Any:
    @functools.wraps(savefig)
    def save(figure: Any, file: Any, *, format: str | None = None, **options: Any) -> None:
        drawing = sys._getframe(1).f_code
        if _rendering or drawing not in _rendered or (format or Path(str(file)).suffix.lstrip(".")) != "png":
            _rendered.add(drawing)
            savefig(figure, file, format=format, **options)
        elif hasattr(file, "write"):
            file.write(PIXEL)
        else:
            Path(file).write_bytes(PIXEL)

    save.pixel = True
    return save
