"""Heat maps of a recurrent layer's gates and states over the tokens of one sequence."""

from __future__ import annotations

import io
import unicodedata
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.files import write_bytes_atomic
from core.trace import Quantity, memory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GATE_COLORS, SIGNED_COLORS = "viridis", "RdBu_r"
LABEL_LIMIT = 18
"""Most characters of a token that are drawn."""
LABEL_SIZE = 7.0
"""Points. A character is about 0.06 inches wide, a line of text takes 0.115."""
CHARACTER, LINE = 0.06, 0.115
CHINESE_FONTS = ("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "SimHei")
"""Used where one of them is installed: the font that matplotlib brings has no Chinese characters."""


def unit_order(values: dict[str, np.ndarray]) -> tuple[np.ndarray, int]:
    """The units from top to bottom of every panel: a permutation [H], and how many of them come before the cut.

    By the state that carries the memory (`core.trace.memory`): above the cut the units whose largest value over time,
    in size, is positive, below it those where it is negative; on either side by the token at which it is reached,
    earliest first. So units that answer to the same word stand together, and memory reads as two staircases from the
    upper left to the lower right. (On a trained classifier of reviews, orders by the largest change, by principal
    components and by chains of nearest neighbours showed less: a change is often a forgetting, and puts units together
    that have nothing else in common.)
    """
    state = memory(values)
    peak = np.abs(state).argmax(axis=0)  # [H]
    negative = state[peak, np.arange(state.shape[1])] < 0
    return np.lexsort((peak, negative)), int((~negative).sum())


def draw_gates(
    values: dict[str, np.ndarray], quantities: tuple[Quantity, ...], tokens: list[str], title: str, path: Path
) -> None:
    """Write `gate_figure` as PNG. Warns if no font that is installed has all characters of the tokens."""
    figure = gate_figure(values, quantities, tokens, title)
    buffer = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(buffer, format="png", dpi=120)
    messages = [str(entry.message) for entry in caught]
    if any("missing from" in message for message in messages):  # one for every character
        messages = [message for message in messages if "missing from" not in message]
        messages.append("no font on this machine has every character of these tokens: the others are drawn as boxes")
    for message in messages:
        warnings.warn(message, stacklevel=2)
    write_bytes_atomic(path, buffer.getvalue())


def gate_figure(
    values: dict[str, np.ndarray], quantities: tuple[Quantity, ...], tokens: list[str], title: str
) -> Figure:
    """A panel for each of `quantities`, in two columns: `tokens` [L] to the right, units by `unit_order` down.

    `values` holds an array [L, H] for each. Gates are coloured from 0 to 1; the others evenly around 0, up to
    `signed_limit`, and where larger ones are cut there, the colour bar has points. A line marks the cut of the order.
    Every token has its label while there is room, of longer sequences every second, third, and so on.
    """
    # Imported here: it takes longer than the computation.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    order, cut = unit_order(values)
    length, units = len(tokens), len(order)
    labels = [shortened(token) for token in tokens]
    longest = max(_extent(label) for label in labels)
    width = float(np.clip(LINE * 1.15 * length, 3.4, 9.0))  # of a panel's heat map, in inches
    upright = longest > width / length * 0.9
    every = -(-length * LINE // width)  # labels would overlap if there were more
    height = float(np.clip(0.02 * units, 1.4, 3.0)) + (longest if upright else LINE)
    rows = len(quantities) // 2
    figure = Figure(figsize=(2 * (width + 1.3), rows * (height + 0.45) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10, parse_math=False)
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
        axes.set_xticks(shown, [labels[t] for t in shown], rotation=90 if upright else 0, parse_math=False)
        places = np.arange(0, units, max(units // 16, 1))
        axes.set_yticks(places, [str(order[place]) for place in places])
        axes.tick_params(axis="x", labelsize=LABEL_SIZE, length=2, pad=2)
        axes.tick_params(axis="y", labelsize=6, length=2, pad=2)
        axes.set_ylabel("unit", fontsize=8)
        for label in axes.get_xticklabels():
            label.set_fontfamily(_families(labels))
    return figure


def signed_limit(panel: np.ndarray) -> tuple[float, str]:
    """Where the colours of values with a sign end, and which ends of the bar are pointed, as matplotlib calls them.

    The largest in size; but where that is far above nearly all others, what 99 % do not exceed: a few large values
    would bleach the rest.
    """
    size = np.abs(panel)
    largest, nearly_all = float(size.max()), float(np.percentile(size, 99))
    return (nearly_all, "both") if largest > 1.25 * nearly_all > 0 else (largest or 1.0, "neither")


def shortened(token: str) -> str:
    """A token as it is drawn: without characters that move the pen, and cut where it is long."""
    token = "".join(character if character.isprintable() else "?" for character in token)
    return token if len(token) <= LABEL_LIMIT else token[: LABEL_LIMIT - 1] + "\u2026"


def _extent(label: str) -> float:
    """About how long a label is, in inches; a Chinese character is as wide as two others."""
    return CHARACTER * sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in label)


def _families(labels: list[str]) -> list[str]:
    """Fonts to try for these labels, in turn."""
    if all(label.isascii() for label in labels):
        return ["DejaVu Sans"]
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return ["DejaVu Sans", *(name for name in CHINESE_FONTS if name in installed)]
