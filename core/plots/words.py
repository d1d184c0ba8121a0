"""Map of words in two dimensions, with labels that do not overlap, and arrows of an analogy."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.files import write_bytes_atomic
from core.plots.fonts import drawable, fonts_for, no_font, shortened
from core.plots.gates import token_labels
from core.words.word_map import WordMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#4477aa", "#cc3311", "#228833", "#aa3377", "#997700", "#0088aa", "#555555")
"""Of groups of words, in order; later groups begin again."""
DPI = 130
LISTED = 12
"""Maximum number of numbered words that a warning lists."""
SIZES = (9.0, 7.0)
"""Font sizes of labels, in points; the second one for more than `MANY` words."""
LARGER = 1.15
"""Factor of the font size of queries."""
MANY = 60
RADII = (4.0, 6.0)
"""Radii of points in pixels, of other words and of queries."""
GAP = 3.0
"""Distance of a label from its point, in pixels; a label without room moves away by multiples of it."""
SIDES = ((1, 0), (0, 1), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
"""Directions of a label from its point, the best one first."""
RINGS = (1.0, 4.0, 7.0, 12.0, 18.0, 26.0, 36.0, 48.0)
"""Distances that a label tries, in `GAP`; at the first one it is `GAP` from the edge of its point."""
DIRECTIONS = 16
"""Directions that a label tries at the other distances, in a circle."""
LEADER = 2.0
"""A label at least this far away, in `GAP`, is connected with its point."""


def draw_words(plan: WordMap, title: str, path: Path) -> None:
    """Write `word_figure` as PNG.

    Warns in one line about words that are numbered for lack of a font.
    """
    figure = word_figure(plan, title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    write_bytes_atomic(path, buffer.getvalue())
    labels, _, missing = token_labels(plan.words)
    if missing:
        why, remedy = no_font(map(shortened, plan.words), missing)
        pairs = zip(labels, map(shortened, plan.words), strict=True)
        numbered = [f"{label} {word}" for label, word in pairs if missing.intersection(word)]
        listed = ", ".join(numbered[:LISTED]) + ", ..." * (len(numbered) > LISTED)
        warnings.warn(f"{why}: such words are numbered in {path.name} ({listed}); {remedy}", stacklevel=2)


def word_figure(plan: WordMap, title: str) -> Figure:
    """Plot the words of a map: a color per group, queries larger and bold, arrows. Both axes have the same scale.

    Labels are those of `core.plots.gates.token_labels`; missing characters of the title are replaced by question marks.
    """
    # Imported here, as the import takes longer than the computation.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    labels, families, _ = token_labels(plan.words)
    title = drawable(title)
    title_families, title_missing = fonts_for([title])
    side = float(np.clip(4.6 + 0.045 * len(labels), 5.4, 10.0))
    figure = Figure(figsize=(side * 1.25, side), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    title = drawable(title, title_missing)
    figure.suptitle(title, fontsize=10, fontfamily=title_families, parse_math=False, wrap=True)
    axes = figure.subplots()
    x, y = plan.coordinates.T
    colors = [COLORS[group % len(COLORS)] for group in plan.groups]
    radii = np.array([RADII[place in plan.queries] for place in range(len(labels))])
    axes.axhline(0.0, color="0.85", linewidth=0.6, zorder=0)
    axes.axvline(0.0, color="0.85", linewidth=0.6, zorder=0)
    axes.scatter(x, y, c=colors, s=(2 * radii * 72 / DPI) ** 2, zorder=3, linewidths=0)
    for start, end in plan.arrows:
        style = {"arrowstyle": "-|>", "color": "0.35", "shrinkA": 5, "shrinkB": 5, "linewidth": 1.1}
        axes.annotate("", (x[end], y[end]), (x[start], y[start]), arrowprops=style, zorder=2)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.14)
    for number, (name, share) in enumerate(zip((axes.set_xlabel, axes.set_ylabel), plan.explained, strict=True), 1):
        name(f"principal component {number} ({share:.1%} of the variance)", fontsize=9)
    axes.tick_params(labelsize=7)
    points = SIZES[len(labels) > MANY]
    bold = "bold" if len(families) == 1 else "normal"  # matplotlib complains of a font without a bold face
    texts = [
        axes.annotate(
            label,
            (x[place], y[place]),
            (0.0, 0.0),
            textcoords="offset pixels",
            fontsize=points * (LARGER if place in plan.queries else 1.0),
            fontweight=bold if place in plan.queries else "normal",
            fontfamily=families,
            parse_math=False,
            color=colors[place],
            ha="center",
            va="center",
            zorder=4,
        )
        for place, label in enumerate(labels)
    ]
    order = sorted(range(len(labels)), key=lambda place: place not in plan.queries)
    _place(figure, axes, texts, radii, order)
    return figure


def _place(figure: Figure, axes: Axes, texts: list[Any], radii: np.ndarray, order: list[int]) -> None:
    """Move each label, in this order, to the first place around its point that is free, or else the emptiest one."""
    figure.draw_without_rendering()  # fixes the axes' place
    points = np.array([axes.transData.transform(text.xy) for text in texts])  # [n, 2] in pixels
    frame = np.array(axes.get_window_extent().extents)
    taken = [(*point - radius, *point + radius) for point, radius in zip(points, radii, strict=True)]
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    angles = np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for place in order:
        box = texts[place].get_window_extent(renderer)
        half = np.array([box.width, box.height]) / 2
        others = np.array([own for number, own in enumerate(taken) if number != place]).reshape(-1, 4)
        best: tuple[float, np.ndarray, float] | None = None
        for ring in RINGS:
            for side in SIDES if ring == RINGS[0] else circle:
                offset = np.array(side) * (half + (radii[place] + GAP if ring == RINGS[0] else GAP * ring))
                low, high = points[place] + offset - half, points[place] + offset + half
                outside = max(*(frame[:2] - low), *(high - frame[2:]), 0.0)
                cost = _overlap(low, high, others) + 100.0 * outside
                if best is None or cost < best[0]:
                    best = cost, offset, ring
            if best is not None and best[0] == 0.0:
                break
        assert best is not None
        _, offset, ring = best
        texts[place].set_position(tuple(offset))
        taken.append((*points[place] + offset - half, *points[place] + offset + half))
        if ring >= LEADER:
            edge = np.clip(points[place], points[place] + offset - half, points[place] + offset + half)
            line = np.array([texts[place].xy, axes.transData.inverted().transform(edge)])
            axes.plot(*line.T, color="0.6", linewidth=0.5, zorder=1, scalex=False, scaley=False)


def _overlap(low: np.ndarray, high: np.ndarray, others: np.ndarray) -> float:
    """Return the area that a box shares with other boxes [m, 4], in pixels."""
    shared = np.minimum(high, others[:, 2:]) - np.maximum(low, others[:, :2])
    return float(shared.clip(min=0.0).prod(axis=1).sum())
