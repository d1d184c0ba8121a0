"""Heat maps of a recurrent layer's gates and states over the tokens of one sequence."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.analysis.gates import Quantity, memory
from core.files import write_bytes_atomic
from core.plots.fonts import drawable, extent, fonts_for, no_font, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GATE_COLORS, SIGNED_COLORS = "viridis", "RdBu_r"
LABEL_SIZE, LINE = 7.0, 0.115
"""Font size of labels in points, and their line height in inches."""
NUMBERED = 24
"""Up to this many units the y axis has their numbers."""
SORTED = "units sorted by the sign of their largest state, then by its token (unit_order in the JSON file)"
LISTED = 12
"""Maximum number of numbered tokens that a warning lists."""


def unit_order(values: dict[str, np.ndarray]) -> tuple[np.ndarray, int]:
    """Return the order of units from the top, a permutation [H], and the upper group's size.

    Units are ordered by their memory state (`core.analysis.gates.memory`). The upper group has a positive largest value
    (in magnitude) over time, the lower group a negative one. Within a group, units are ordered by the token of that
    value, earliest first. Units that respond to the same token are thus adjacent, and memory appears as two staircases
    from the upper left to the lower right. (On a trained review classifier, orders by the largest change, by principal
    components and by nearest-neighbor chains were less informative: a change is often a forgetting, which groups
    unrelated units.)
    """
    state = memory(values)
    peak = np.abs(state).argmax(axis=0)  # [H]
    negative = state[peak, np.arange(state.shape[1])] < 0
    return np.lexsort((peak, negative)), int((~negative).sum())


def draw_gates(
    values: dict[str, np.ndarray], quantities: tuple[Quantity, ...], tokens: list[str], title: str, path: Path
) -> None:
    """Write `gate_figure` as PNG.

    Warns in one line about tokens that are numbered for lack of a font.
    """
    figure = gate_figure(values, quantities, tokens, title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_bytes_atomic(path, buffer.getvalue())
    labels, _, missing = token_labels(tokens)
    if missing:
        why, remedy = no_font(map(shortened, tokens), missing)
        pairs = zip(labels, map(shortened, tokens), strict=True)
        numbered = [f"{label} {token}" for label, token in pairs if missing.intersection(token)]
        listed = ", ".join(numbered[:LISTED]) + ", ..." * (len(numbered) > LISTED)
        message = f"{why}: tokens with such characters are numbered by position in {path.name} ({listed}); {remedy}"
        warnings.warn(message, stacklevel=2)


def gate_figure(
    values: dict[str, np.ndarray], quantities: tuple[Quantity, ...], tokens: list[str], title: str
) -> Figure:
    """Plot a heat map per quantity: tokens [L] on the x axis, units in `unit_order` on y.

    `values` holds arrays [L, H] by quantity. Gates are colored from 0 to 1, other quantities symmetrically around 0 up
    to `signed_limit`; the color bar has pointed ends if larger values are clipped. A line separates the two groups of
    units. All tokens are labeled if there is room, otherwise every second, third, ... Labels are those of
    `token_labels`; missing characters of the title are replaced by question marks.
    """
    # Imported here, as the import takes longer than the computation.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    order, cut = unit_order(values)
    length, units = len(tokens), len(order)
    labels, families, _ = token_labels(tokens)
    title = drawable(title)
    title_families, title_missing = fonts_for([title])
    title = drawable(title, title_missing)
    longest = max(extent(label, LABEL_SIZE) for label in labels)
    width = float(np.clip(LINE * 1.15 * length, 3.4, 9.0))  # of the heat map of a panel, in inches
    upright = longest > width / length * 0.9
    every = -(-length * LINE // width)  # more labels would overlap
    height = float(np.clip(0.02 * units, 1.4, 3.0)) + (longest if upright else LINE)
    rows = len(quantities) // 2
    figure = Figure(figsize=(2 * (width + 1.3), rows * (height + 0.45) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10, fontfamily=title_families, parse_math=False)
    if units > NUMBERED:
        figure.supxlabel(SORTED, fontsize=LABEL_SIZE)
    for axes, quantity in zip(figure.subplots(rows, 2).reshape(-1), quantities, strict=True):
        panel = values[quantity.name][:, order].T  # [H, L]
        if quantity.is_gate:
            low, high, colors, ends = 0.0, 1.0, GATE_COLORS, "neither"
        else:
            high, ends = signed_limit(panel)
            low, colors = -high, SIGNED_COLORS
        image = axes.imshow(panel, cmap=colors, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
        bar = figure.colorbar(image, ax=axes, extend=ends, pad=0.015, aspect=18)
        bar.ax.tick_params(labelsize=7)
        if 0 < cut < units:
            axes.axhline(cut - 0.5, color="black", linewidth=0.7)
        axes.set_title(quantity.title, fontsize=9)
        shown = np.arange(0, length, int(every))
        style = {"rotation": 90 if upright else 0, "fontfamily": families, "parse_math": False}
        axes.set_xticks(shown, [labels[t] for t in shown], **style)
        axes.set_yticks(*unit_labels(order, cut))
        axes.tick_params(axis="x", labelsize=LABEL_SIZE, length=2, pad=2)
        axes.tick_params(axis="y", labelsize=6, length=2, pad=2)
        axes.set_ylabel("unit" if units <= NUMBERED else f"{units} units", fontsize=8)
    return figure


def unit_labels(order: np.ndarray, cut: int) -> tuple[list[float], list[str]]:
    """Return the places of the labels on the y axis, and the labels.

    Up to `NUMBERED` units are numbered. More are named by their two groups: `order` and `cut` of `unit_order`.
    """
    if len(order) <= NUMBERED:
        return list(range(len(order))), [str(unit) for unit in order]
    groups = [("state\n> 0", 0, cut), ("state\n< 0", cut, len(order))]
    shown = [(name, start, end) for name, start, end in groups if end - start >= len(order) / 10]
    return [(start + end - 1) / 2 for _, start, end in shown], [name for name, _, _ in shown]


def signed_limit(panel: np.ndarray) -> tuple[float, str]:
    """Return the color limit of signed values, and matplotlib's `extend` of the color bar.

    The limit is the largest magnitude. If that is far above nearly all others, it is the 99th percentile, as a few
    large values would make the others indistinguishable.
    """
    size = np.abs(panel)
    largest, nearly_all = float(size.max()), float(np.percentile(size, 99))
    return (nearly_all, "both") if largest > 1.25 * nearly_all > 0 else (largest or 1.0, "neither")


def token_labels(tokens: list[str]) -> tuple[list[str], list[str], frozenset[str]]:
    """Return the labels of tokens [L], their font families, and the characters without a font.

    A token with such characters is labeled by its position, from `#1`.
    """
    labels = [shortened(token) for token in tokens]
    families, missing = fonts_for(labels)
    if missing:
        labels = [f"#{place}" if missing.intersection(label) else label for place, label in enumerate(labels, start=1)]
        families, _ = fonts_for(labels)
    return labels, families, missing
