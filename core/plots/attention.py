"""Heat maps of attention: output tokens by source tokens."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.files import write_bytes_atomic
from core.plots.fonts import drawable, fonts_for, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELL = 0.26
"""Side of a cell in inches."""
LARGEST = 60
"""Maximum number of tokens of a side; the others are left out."""
NAME = 12
"""Maximum width of a token, in columns."""
TITLE = 110
"""Maximum width of the title, in columns."""


@dataclass(frozen=True)
class AttentionMap:
    """Attention of one output: `weights` [T, S], of T output tokens over S source tokens."""

    source: list[str]
    output: list[str]
    weights: np.ndarray


def draw_attention(maps: list[AttentionMap], title: str, path: Path) -> None:
    """Write `attention_figure` as PNG. Raises UserError if the file cannot be written."""
    buffer = io.BytesIO()
    attention_figure(maps, title).savefig(buffer, format="png", dpi=110)
    write_bytes_atomic(path, buffer.getvalue())


def attention_figure(maps: list[AttentionMap], title: str) -> Figure:
    """Plot one heat map per example, dark where a source token has all the attention.

    Rows are output tokens in order, columns source tokens in the order in which the encoder reads them. Raises
    ValueError without a map, or for weights of another shape than its tokens.
    """
    # Imported here, as in `core/plots/curves.py`.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not maps:
        raise ValueError("expected at least one attention map")
    for own in maps:
        if own.weights.shape != (len(own.output), len(own.source)):
            raise ValueError(f"got weights {own.weights.shape}, expected [{len(own.output)}, {len(own.source)}]")
    sizes = [(min(len(own.output), LARGEST), min(len(own.source), LARGEST)) for own in maps]
    title = "\n".join(shortened(line, TITLE) for line in drawable(title).split("\n"))
    families, missing = fonts_for([title])
    width = max(sum(columns for _, columns in sizes) * CELL + 1.1 * len(maps), 6.0)
    figure = Figure(figsize=(width, max(rows for rows, _ in sizes) * CELL + 1.4), layout="compressed")
    FigureCanvasAgg(figure)
    figure.suptitle(drawable(title, missing), fontsize=9, fontfamily=families, parse_math=False)
    ratios = [columns for _, columns in sizes]
    image = None
    for axes, own, (rows, columns) in zip(
        figure.subplots(1, len(maps), width_ratios=ratios, squeeze=False)[0], maps, sizes, strict=True
    ):
        image = axes.imshow(own.weights[:rows, :columns], cmap="Blues", vmin=0.0, vmax=1.0)
        _label(axes.set_xticks, own.source[:columns])
        _label(axes.set_yticks, own.output[:rows])
        axes.set_xlabel("source", fontsize=8)
        axes.set_ylabel("output", fontsize=8)
        axes.tick_params(length=2, pad=2)
    assert image is not None
    bar = figure.colorbar(image, ax=figure.axes, pad=0.01, fraction=0.04)
    bar.ax.tick_params(labelsize=7, length=2)
    bar.set_label("attention", fontsize=8)
    return figure


def _label(set_ticks, tokens: list[str]) -> None:
    names = [shortened(drawable(token), NAME) for token in tokens]
    families, missing = fonts_for(names)
    names = [drawable(name, missing) for name in names]
    rotation = {} if max(map(len, names)) == 1 or set_ticks.__name__ == "set_yticks" else {"rotation": 90}
    set_ticks(np.arange(len(names)), names, fontfamily=families, fontsize=8, parse_math=False, **rotation)
