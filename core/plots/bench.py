"""Picture of `tasks.bench`: accuracy of every model and seed, and accuracy against training time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BACKEND_COLORS = ("#2f6fb0", "#c8451f")
OFFSET = 0.16
"""Distance of two frameworks from the line of their model, in lines."""


@dataclass(frozen=True)
class Series:
    """A model in one framework."""

    title: str
    backend: str
    accuracies: Sequence[float]
    seconds: float


def bench_png(series: Sequence[Series], title: str) -> bytes:
    """Plot test accuracies as PNG: of each seed, and means against the mean training time.

    Models are in the order of `series`, from the top.
    """
    # Imported here, as the import is slow (`core/plots/curves.py`).
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(own.title for own in series))
    backends = list(dict.fromkeys(own.backend for own in series))
    figure = Figure(figsize=(10, 2.0 + 0.42 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    left, right = figure.subplots(1, 2)
    labeled: set[str] = set()
    for own in series:
        place = backends.index(own.backend)
        color = BACKEND_COLORS[place % len(BACKEND_COLORS)]
        row = names.index(own.title) + OFFSET * (place - (len(backends) - 1) / 2) * 2
        middle = float(np.mean(own.accuracies))
        label = None if own.backend in labeled else own.backend
        labeled.add(own.backend)
        left.plot(own.accuracies, [row] * len(own.accuracies), "o", color=color, alpha=0.45, markersize=5)
        left.plot([middle], [row], "|", color=color, markersize=15, markeredgewidth=2.2, label=label)
        right.plot([own.seconds], [middle], "o", color=color, markersize=6)
        right.annotate(
            own.title, (own.seconds, middle), xytext=(5, 3), textcoords="offset points", fontsize=7.5, color=color
        )
    left.set_yticks(range(len(names)), names)
    left.set_ylim(len(names) - 0.5, -0.5)
    left.set_xlabel("test accuracy: dots are seeds, bars their mean")
    if len(backends) > 1:
        figure.legend(fontsize=8, loc="outside lower center", ncols=len(backends))
    right.margins(x=0.2, y=0.12)
    right.set_xlim(left=0)
    right.set_xlabel("seconds of training, mean")
    right.set_ylabel("test accuracy, mean")
    for axes in (left, right):
        axes.grid(alpha=0.25)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
