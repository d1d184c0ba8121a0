"""Picture of docs/results.md: test accuracy against seconds of training, beside the published ladder."""

from __future__ import annotations

import io
import statistics
from pathlib import Path

from core.files import write_bytes_atomic
from tools.results.page import NAMES, groups, published
from tools.results.stored import Row

MARKERS = {"torch": "o", "paddle": "^"}
OTHER = "s"
"""Marker of a model without a framework."""
COLORS = (
    *("#4477aa", "#bb2211", "#228833", "#aa7711", "#774488", "#222222"),
    *("#33bbdd", "#ee7799", "#99cc44", "#eecc33", "#aa99ee", "#999999"),
)
"""One for every recipe of `tasks.imdb`."""
TICKS = [digit * 10.0**exponent for exponent in range(-2, 6) for digit in (1, 2, 5)]
GAP = 0.0045
"""Least distance of two labels, in accuracy."""


def draw(rows: list[Row], path: Path) -> None:
    """Plot the official IMDB runs as PNG: every seed, and the means."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    rows = [row for row in rows if row["task"] == "imdb" and row["data"] == "official"]
    figure = Figure(figsize=(8.0, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    recipes = list(dict.fromkeys(own[0]["recipe"] for own in groups(rows)))
    for own in groups(rows):
        recipe, framework = own[0]["recipe"], own[0]["framework"]
        color = COLORS[recipes.index(recipe) % len(COLORS)]
        marker = MARKERS.get(framework, OTHER)
        seconds, accuracies = [row["seconds"] for row in own], [row["test"] for row in own]
        axes.scatter(seconds, accuracies, 14, color=color, marker=marker, alpha=0.45, linewidths=0)
        label = f"{recipe}, {NAMES.get(framework, framework)}"
        x, y = statistics.mean(seconds), statistics.mean(accuracies)
        axes.scatter(x, y, 60, color=color, marker=marker, edgecolors="black", linewidths=0.6, label=label, zorder=3)
    linear = [row["ngrams"] for row in rows if row["ngrams"] and row["ngrams"]["seconds"]]
    if linear:
        x, y = (statistics.mean(own[name] for own in linear) for name in ("seconds", "test"))
        axes.scatter(x, y, 90, color="black", marker="*", label="n-grams alone (baseline of the runs)", zorder=3)
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    last = 0.0
    for own in sorted(published(), key=_middle):
        axes.axhspan(own["low"] - 0.0002, own["high"] + 0.0002, color="#888888", alpha=0.25, linewidth=0, zorder=0)
        text = f"{own['model']}{' *' if own['unlabeled'] else ''}"
        last = max(_middle(own), last + GAP)
        axes.annotate(text, (1.01, last), xycoords=("axes fraction", "data"), fontsize=7, va="center")
    axes.set_xlabel("seconds of training (logarithmic)")
    axes.set_ylabel("accuracy on the official IMDB test")
    axes.set_title("Recipes and published models (gray; * with unlabeled texts)", fontsize=10)
    figure.legend(fontsize=7, loc="outside lower center", ncols=4)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    write_bytes_atomic(path, stream.getvalue())


def _middle(own: dict) -> float:
    return (own["low"] + own["high"]) / 2
