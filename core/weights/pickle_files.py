"""Reader of plain pickles of arrays that Paddle did not write, linear weights [out, in]."""

from __future__ import annotations

from core.weights.paddle_files import read_state

__all__ = ["LINEAR_LAYOUT", "read_state"]

LINEAR_LAYOUT = "out_in"
