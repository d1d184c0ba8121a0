"""Learning curves and reliability of runs, as inline SVG that uses the colors of its page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from markupsafe import Markup, escape

from core.plots.curves import running_mean

WINDOW = 50
"""Steps in the running mean."""
POINTS = 400
"""Maximum number of points per line: more would not be visible."""
FOREGROUND = "#010203"
COLORS = tuple(f"#0a0b{number:02x}" for number in range(8))
"""Placeholders for the colors of the page: `currentColor`, and `var(--run0)` to `var(--run7)`."""
MARKERS = "os^Dv<>p"


class Curves(Protocol):
    """The curves of a run."""

    @property
    def metrics(self) -> list[dict]: ...

    def curve(self, split: str, quantity: str) -> tuple[np.ndarray, np.ndarray]:
        """Return epochs and values."""
        ...


def curve_svg(runs: Sequence[Curves], quantity: str, prefix: str) -> Markup:
    """Plot `loss` or `accuracy` over epochs for every run.

    Solid lines are running means over training steps; dashed lines are dev, with a marker at each evaluation. The index
    in `runs` determines the color. `prefix` makes the element ids unique on a page.
    """

    def draw(axes) -> None:
        drawn = []
        for place, run in enumerate(runs):
            color, marker = COLORS[place % len(COLORS)], MARKERS[place % len(MARKERS)]
            # Earlier lines are wider, so that they remain visible under identical later ones.
            width = 3.2 - 2.0 * place / max(len(runs) - 1, 1)
            epochs, values = run.curve("train", quantity)
            if len(values):
                # Lines that cover WINDOW steps are means already; averaging them again would spread NaN.
                mean = running_mean(values, window) if (window := _window(run)) > 1 else values
                kept = np.unique(np.linspace(0, len(mean) - 1, POINTS).astype(int))
                axes.plot(epochs[kept], mean[kept], color=color, linewidth=width, alpha=0.85)
                drawn.append(mean[len(mean) // 50 :])
            epochs, values = run.curve("dev", quantity)
            if len(values):
                # Markers at many evaluations would merge into a thick line.
                size = 4.5 if len(values) <= 30 else 0
                axes.plot(
                    *(epochs, values, marker),
                    color=color,
                    linestyle=(0, (4, 2)),
                    linewidth=1.2,
                    markersize=size,
                    fillstyle="none" if place % 2 else "full",
                )
                drawn.append(values)
        _frame(axes, "epoch", quantity, np.concatenate(drawn) if drawn else np.zeros(0))
        axes.set_xlim(left=0)

    return _svg(draw, prefix, f"{quantity} over epochs, train and dev")


def lengths_svg(series: Sequence[Mapping[str, Sequence[float]]], lengths: Sequence[int], prefix: str) -> Markup:
    """Plot accuracy over sequence length for every entry: `test` solid, `dev` dashed."""

    def draw(axes) -> None:
        for place, own in enumerate(series):
            color, width = COLORS[place % len(COLORS)], 3.2 - 2.0 * place / max(len(series) - 1, 1)
            hollow = {"marker": MARKERS[place % len(MARKERS)], "fillstyle": "none" if place % 2 else "full"}
            axes.plot(lengths, own["test"], color=color, linewidth=width, alpha=0.85, markersize=5.5, **hollow)
            axes.plot(lengths, own["dev"], color=color, linewidth=1.2, linestyle=(0, (4, 2)), markersize=4, **hollow)
        _frame(axes, "length", "accuracy", np.zeros(0))
        axes.set_ylim(0, 1.02)
        axes.set_xticks(lengths)

    return _svg(draw, prefix, "accuracy over lengths, dev and test")


def rate_svg(run: Curves, prefix: str) -> Markup:
    """Plot the learning rate of a run over epochs."""

    def draw(axes) -> None:
        epochs, values = run.curve("train", "learning_rate")
        kept = np.unique(np.linspace(0, len(values) - 1, POINTS).astype(int))
        axes.plot(epochs[kept], values[kept], color=COLORS[0], linewidth=1.2)
        _frame(axes, "epoch", "learning rate", np.zeros(0))
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)

    return _svg(draw, prefix, "learning rate over epochs")


def reliability_svg(figures: Mapping[str, Sequence[float]], prefix: str, color: int = 0) -> Markup:
    """Plot accuracy by confidence for the bins of `core/train/calibration.py`; the area is the share of the texts."""

    def draw(axes) -> None:
        counts = np.array(figures["counts"], dtype=np.float64)
        filled = counts > 0
        centers, width = (np.arange(len(counts)) + 0.5) / len(counts), 1.0 / len(counts)
        shares = counts / counts.sum()
        axes.bar(centers[filled], shares[filled], width, color=FOREGROUND, alpha=0.15, linewidth=0)
        axes.plot([0, 1], [0, 1], color=FOREGROUND, linewidth=0.8, linestyle="--")
        confidence, accuracy = (np.array(figures[name])[filled] for name in ("confidence", "accuracy"))
        axes.plot(confidence, accuracy, color=COLORS[color], linewidth=1.2, marker=MARKERS[0], markersize=4.5)
        _frame(axes, "confidence", "accuracy", np.zeros(0))
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)

    return _svg(draw, prefix, "accuracy by confidence on test")


def _svg(draw: Callable, prefix: str, title: str) -> Markup:
    """Return what `draw` plots on axes, as SVG.

    Templates do not escape Markup, which only this function returns: matplotlib escapes text, `_inline` the title.
    """
    # Imported here, as in `core/plots/curves.py`.
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": prefix,
        "font.size": 9.5,
        "font.family": "sans-serif",
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(4.9, 3.3), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.subplots())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return Markup(_inline(buffer.getvalue(), prefix, title))


def _window(run: Curves) -> int:
    """Return the number of metrics lines that cover WINDOW steps."""
    lines = [line for line in run.metrics if line["split"] == "train"]
    return max(WINDOW // lines[0].get("steps", 1), 1)


def _frame(axes, across: str, quantity: str, values: np.ndarray) -> None:
    values = values[np.isfinite(values)]
    if quantity == "loss" and len(values):
        axes.set_ylim(0, float(values.max()) * 1.06 or 1.0)
    elif len(values):
        low, high = float(values.min()), float(values.max())
        axes.set_ylim(max(low - 0.05 * (high - low) - 0.01, 0), min(high + 0.05 * (high - low) + 0.01, 1.005))
    axes.set_xlabel(across, color=FOREGROUND)
    axes.set_ylabel(quantity, color=FOREGROUND)
    axes.tick_params(colors=FOREGROUND, width=0.6)
    axes.grid(color=FOREGROUND, alpha=0.14, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set(color=FOREGROUND, alpha=0.5, linewidth=0.6)


def _inline(svg: str, prefix: str, title: str) -> str:
    """Prepare SVG for a page: no declarations, metadata or fixed size; unique ids and the page's colors."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\s+xmlns(?::\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    (box,) = re.findall(r'viewBox="[^"]*"', svg)[:1]
    svg = f'<svg {box} role="img" aria-label="{escape(title)}">{svg[svg.index(">") + 1 :]}'
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}-', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}-", svg)
    svg = svg.replace(FOREGROUND, "currentColor")
    for number, color in enumerate(COLORS):
        svg = svg.replace(color, f"var(--run{number})")
    return re.sub(r"\n\s*", "\n", svg).strip()
