"""Pictures of a run, drawn from its metrics alone."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from core.files import write_bytes_atomic

TRAIN, DEV, TEST = "#4477aa", "#cc3311", "#228833"


def draw_curves(metrics: list[dict], title: str, path: Path, reduction: str, test: dict | None = None) -> None:
    """Loss and accuracy over steps, as PNG: every training step faintly, its running mean, dev, the best, and test.

    `metrics` are the lines of metrics.jsonl, whose training losses are reduced by `reduction` (drawn as means, like
    those of dev); `test` holds `loss` and `accuracy` where they are known.
    """
    # Imported here: it takes longer than answering a question about a sentence.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    train = [line for line in metrics if line["split"] == "train"]
    dev = [line for line in metrics if line["split"] == "dev"]
    steps = np.array([line["step"] for line in train])
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        values = np.array([line[quantity] for line in train])
        if quantity == "loss" and reduction == "sum":
            values = values / [line["examples"] for line in train]
        axes.plot(steps, values, color=TRAIN, alpha=0.18, linewidth=0.6)
        axes.plot(steps, running_mean(values), color=TRAIN, linewidth=1.6, label="train (running mean)")
        if dev:
            best = max(dev, key=lambda line: (line["accuracy"], -line["loss"]))
            label = f"dev, {best[quantity]:.3f} at the best epoch"
            axes.plot([line["step"] for line in dev], [line[quantity] for line in dev], "o-", color=DEV, label=label)
            axes.plot(best["step"], best[quantity], "o", color=DEV, fillstyle="none", markersize=12)
        if test:
            axes.axhline(test[quantity], color=TEST, linestyle="--", linewidth=1.2, label=f"test {test[quantity]:.3f}")
        axes.set_xlabel("step")
        axes.set_ylabel(quantity)
        axes.grid(alpha=0.25)
        low, high = np.percentile(values, [1, 99]) if len(values) else (0, 1)
        if quantity == "accuracy":
            axes.set_ylim(max(low - 0.03, 0), 1.005)
        else:
            axes.set_ylim(0, high * 1.1)
        axes.legend(fontsize=8, loc="best")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes_atomic(path, buffer.getvalue())


def running_mean(values: np.ndarray, window: int = 50) -> np.ndarray:
    """Mean over up to `window` values that end at each place."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)
