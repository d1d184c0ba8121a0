"""Plot of the confusion matrix."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.files import write_bytes_atomic
from core.plots.fonts import DEFAULT, drawable, extent, fonts_for, no_font, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUMBERED = 25
"""Maximum number of classes with numbers in the matrix entries."""
NAMED = 60
"""Maximum number of classes with all names at the axes; above, every second, third, ...

is shown.
"""
NAME_LIMIT, TITLE_LIMIT = 24, 110
"""Maximum width of a class name and of a title line, in columns."""
LISTED = 20
"""Maximum number of classes that `numbering` lists."""
SIDE = 9.0
"""Maximum side of the matrix, in inches."""
LINE = 0.0165
"""Line height, in inches per point of the font size."""
SMALLEST = 5.5
"""Minimum font size of a share, in points; smaller shares are omitted."""
DARK = 0.55
"""Share of a row above which numbers are white."""


def draw_confusion(confusion: np.ndarray, classes: list[str], title: str, path: Path) -> dict[int, str]:
    """Write `confusion_figure` as PNG.

    Return its legend, empty if the class names could be drawn. Raises UserError if the file cannot be written, and
    ValueError like `confusion_figure`.
    """
    figure, legend = confusion_figure(confusion, classes, title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes_atomic(path, buffer.getvalue())
    return legend


def numbering(legend: dict[int, str], picture: str) -> str:
    """Describe a non-empty legend of `draw_confusion` in one line.

    It contains the reason, the numbers of the classes and the fix. `picture` is the name of the file.
    """
    names = [shortened(name, NAME_LIMIT) for name in legend.values()]
    why, remedy = no_font(names, fonts_for(names)[1])
    listed = ", ".join(f"{number} {shortened(own, 40)}" for number, own in list(legend.items())[:LISTED])
    more = ", ... in the order of the classes" if len(legend) > LISTED else ""
    return f"{why}: classes are numbered in {picture} ({listed}{more}); {remedy}"


def confusion_figure(confusion: np.ndarray, classes: list[str], title: str) -> tuple[Figure, dict[int, str]]:
    """Plot the matrix, colored by share of the row; return the figure and the legend.

    `confusion` [C, C] counts texts by true class (rows) and predicted class (columns), named by `classes` [C]. Up to
    `NUMBERED` classes, entries show their count and, if there is room, their share of the row. Rows without texts are
    gray. If no installed font has all characters of the names, classes are numbered from 1 in the legend; missing
    characters of the title are replaced by question marks. Raises ValueError for inconsistent shapes.
    """
    # Imported here, as in `core/plots/curves.py`.
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    number = len(classes)
    if number == 0 or np.shape(confusion) != (number, number):
        raise ValueError(f"got a confusion matrix of shape {np.shape(confusion)}, expected [{number}, {number}]")
    names, families, legend = _names(classes)
    title = "\n".join(shortened(line, TITLE_LIMIT) for line in drawable(title).split("\n"))
    title_families, title_missing = fonts_for([title])
    title = drawable(title, title_missing)

    totals = confusion.sum(axis=1, keepdims=True)
    shares = np.where(totals > 0, confusion / np.maximum(totals, 1), np.nan)  # [C, C]
    cell, points = _sizes(confusion)
    label_points = 9.0 if number <= 12 else 8.0 if number <= NUMBERED else 7.0
    every = 1 if number <= NAMED else -(-number * label_points * LINE // SIDE)
    shown = np.arange(0, number, int(every))
    longest = max(extent(names[place], label_points) for place in shown)
    upright = longest > 0.9 * cell * every
    side = cell * number
    below = longest if upright else label_points * LINE
    widest = max(extent(line, 10) for line in title.split("\n"))
    lines = title.count("\n") + 1
    size = (max(side + longest + 1.35, widest + 0.2), side + below + 0.55 + 10 * LINE * lines)
    figure = Figure(figsize=size, layout="compressed")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10, fontfamily=title_families, parse_math=False)
    axes = figure.subplots()
    colors = matplotlib.colormaps["Blues"].with_extremes(bad="#e4e4e4")
    # With many classes, shares are small and not printed: a square-root scale keeps them visible.
    image = axes.imshow(shares, cmap=colors, norm=PowerNorm(1.0 if number <= NUMBERED else 0.5, 0.0, 1.0))
    bar = figure.colorbar(image, ax=axes, pad=0.02, fraction=0.05, aspect=max(5.0 * side, 12.0))
    ticks = [0, 25, 50, 75, 100] if number <= NUMBERED else [0, 1, 5, 10, 25, 50, 100]
    bar.set_ticks([tick / 100 for tick in ticks], labels=[f"{tick} %" for tick in ticks])
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=7, length=2)
    bar.outline.set_linewidth(0.5)
    bar.set_label("share of the true class", fontsize=8)
    labels = [names[place] for place in shown]
    style = {"fontfamily": families, "fontsize": label_points, "parse_math": False}
    axes.set_xticks(shown, labels, rotation=90 if upright else 0, **style)
    axes.set_yticks(shown, labels, **style)
    axes.tick_params(length=2, pad=3)
    axes.set_xlabel("predicted class", fontsize=9)
    axes.set_ylabel("true class", fontsize=9)
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)
    if number <= NUMBERED:
        axes.set_xticks(np.arange(number - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(number - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.0)
        axes.tick_params(which="minor", length=0)
        _write_numbers(axes, confusion, shares, cell, points)
    return figure, legend


def _names(classes: list[str]) -> tuple[list[str], list[str], dict[int, str]]:
    """Return axis labels of the classes, font families, and the legend of numbers, if any."""
    names = [shortened(name, NAME_LIMIT) for name in classes]
    families, missing = fonts_for(names)
    if not missing:
        return names, families, {}
    legend = dict(enumerate(classes, start=1))
    return [str(place) for place in legend], fonts_for(())[0], legend


def _sizes(confusion: np.ndarray) -> tuple[float, float]:
    """Return the side of an entry in inches, and the font size of its numbers in points."""
    number = len(confusion)
    if number > NUMBERED:
        return min(SIDE / number, 0.3), 0.0
    points = 10.0 if number <= 6 else 8.5 if number <= 12 else 7.0
    needed = extent(f"{confusion.max():,}", points) + 0.1
    return max(min(5.6 / number, 1.15), needed, 0.34), points


def _write_numbers(axes, confusion: np.ndarray, shares: np.ndarray, cell: float, points: float) -> None:
    """Write the count into each entry, and below it the share if there is room."""
    small = points - 2.0
    for row, column in np.ndindex(confusion.shape):
        count, share = int(confusion[row, column]), float(shares[row, column])
        percent = _percent(share)
        room = cell >= max((points + small) * LINE + 0.1, extent(percent, small) + 0.06) and small >= SMALLEST
        color = "white" if share > DARK else "#222222" if count else "#9a9a9a"
        lines = [(f"{count:,}", points, 0.0)]
        if count and room:
            lines = [(f"{count:,}", points, 0.55 * small), (percent, small, -0.65 * points)]
        for text, size, above in lines:
            axes.annotate(
                text, (column, row), (0, above), textcoords="offset points", ha="center", va="center",
                fontsize=size, fontfamily=DEFAULT, color=color,
            )  # fmt: skip


def _percent(share: float) -> str:
    """Format as percent without decimals.

    `<1 %` and `>99 %` for shares that are not exactly 0 or 1.
    """
    if np.isnan(share):
        return ""
    rounded = round(100 * share)
    if rounded == 0 and share > 0:
        return "<1 %"
    return ">99 %" if rounded == 100 and share < 1 else f"{rounded} %"
