"""Plot of a classifier's reliability: accuracy by confidence, before and after the temperature."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from core.files import write_bytes_atomic
from core.plots.fonts import drawable, fonts_for

PARTS = {"before": "#b45309", "after": "#1d4ed8"}
"""Colors of the two panels."""


def draw_reliability(figures: dict[str, Any], title: str, path: Path) -> None:
    """Write a PNG with two panels, of the entry `calibration` of a result (`core/train/calibration.py`), for test.

    A bar is the accuracy of the texts of a bin of confidence; on the diagonal, it is the confidence. Below is the share
    of texts in each bin. Raises UserError if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    families, missing = fonts_for([drawable(title)])
    figure.suptitle(drawable(title, missing), fontsize=10, fontfamily=families, parse_math=False)
    axes = figure.subplots(2, 2, sharex=True, height_ratios=[3, 1])
    for column, (name, color) in enumerate(PARTS.items()):
        own = figures["test"][name]
        counts = np.array(own["counts"])
        bins, filled = len(counts), counts > 0
        centers, width = (np.arange(bins) + 0.5) / bins, 1.0 / bins
        top, bottom = axes[0][column], axes[1][column]
        top.bar(centers[filled], np.array(own["accuracy"])[filled], width, color=color, alpha=0.8, edgecolor="white")
        top.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--", label="accuracy = confidence")
        divided = f"logits divided by {figures['temperature']:.2f}" if name == "after" else "as trained"
        top.set_title(f"{divided}: calibration error {100 * own['error']:.1f} %", fontsize=9)
        top.set(xlim=(0, 1), ylim=(0, 1))
        top.grid(alpha=0.25)
        bottom.bar(centers, counts / counts.sum(), width, color=color, alpha=0.8, edgecolor="white")
        bottom.set_xlabel("confidence: the largest probability of a text")
    axes[0][0].set_ylabel("accuracy on test")
    axes[1][0].set_ylabel("share of texts")
    axes[0][0].legend(loc="upper left", fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes_atomic(path, buffer.getvalue())
