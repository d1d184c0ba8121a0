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
COLORS = ("#4477aa", "#bb2211", "#228833", "#aa7711", "#774488", "#222222")
MARGIN = 0.006
"""Accuracies below the least and above the largest one that are shown."""


def draw(rows: list[Row], path: Path) -> None:
    """Plot the official IMDB runs as PNG: every seed, and the means."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

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
        mean = statistics.mean(seconds), statistics.mean(accuracies)
        axes.scatter(*mean, 60, color=color, marker=marker, edgecolors="black", linewidths=0.6, label=label, zorder=3)
    linear = [row["ngrams"] for row in rows if row["ngrams"] and row["ngrams"]["seconds"]]
    if linear:
        mean = (statistics.mean(own[name] for own in linear) for name in ("seconds", "test"))
        axes.scatter(*mean, 90, color="black", marker="*", label="n-grams alone (baseline of the runs)", zorder=3)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    for own in published():
        axes.axhspan(own["low"] - 0.0002, own["high"] + 0.0002, color="#888888", alpha=0.25, linewidth=0, zorder=0)
        text = f"{own['model']}{' *' if own['unlabeled'] else ''}"
        axes.annotate(
            text, (1.01, (own["low"] + own["high"]) / 2), xycoords=("axes fraction", "data"), fontsize=7, va="center"
        )
    axes.set_xlabel("seconds of training (logarithmic)")
    axes.set_ylabel("accuracy on the official IMDB test")
    axes.set_title("Recipes and published models (gray; * with unlabeled texts)", fontsize=10)
    axes.legend(fontsize=7, loc="lower right")
    axes.grid(alpha=0.2)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    write_bytes_atomic(path, stream.getvalue())
