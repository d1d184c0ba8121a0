"""Plots of training curves and of differences between backends."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from core.files import write_bytes_atomic
from core.plots.fonts import drawable, fonts_for

TRAIN, DEV, TEST = "#4477aa", "#cc3311", "#228833"
FLOOR = 1e-17
"""Value at which a difference of zero is drawn on a logarithmic axis."""
SCORES = ("micro_f1", "f1")
"""Metrics other than the accuracy that choose the best checkpoint, of a head that has one."""
DTYPE_COLORS = {"float64": TRAIN, "float32": DEV, "bfloat16": TEST}


def draw_curves(metrics: list[dict], title: str, path: Path, reduction: str, test: dict | None = None) -> None:
    """Plot loss and accuracy over steps as PNG: training steps, running mean, dev, best, test.

    `metrics` are the lines of metrics.jsonl, whose training losses are reduced by `reduction`; they are drawn as means,
    like dev losses. `test` holds `loss` and `accuracy`, if known.
    """
    # Imported here, as the import takes longer than a prediction.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    train = [line for line in metrics if line["split"] == "train"]
    dev = [line for line in metrics if line["split"] == "dev"]
    steps = np.array([line["step"] for line in train])
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    families, missing = fonts_for([drawable(title)])
    figure.suptitle(drawable(title, missing), fontsize=10, fontfamily=families, parse_math=False)
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        values = np.array([line[quantity] for line in train])
        if quantity == "loss" and reduction == "sum":
            values = values / [line["counted"] for line in train]
        axes.plot(steps, values, color=TRAIN, alpha=0.18, linewidth=0.6)
        axes.plot(steps, running_mean(values), color=TRAIN, linewidth=1.6, label="train (running mean)")
        if dev:
            trained = [line for line in dev if line["step"]] or dev  # step 0 is no checkpoint
            score = next((name for name in SCORES if name in trained[0]), "accuracy")
            best = max(trained, key=lambda line: (line[score], -line["loss"]))
            label = f"dev, {best[quantity]:.3f} at the best checkpoint"
            axes.plot([line["step"] for line in dev], [line[quantity] for line in dev], "o-", color=DEV, label=label)
            axes.plot(best["step"], best[quantity], "o", color=DEV, fillstyle="none", markersize=12)
        if test:
            axes.axhline(test[quantity], color=TEST, linestyle="--", linewidth=1.2, label=f"test {test[quantity]:.3f}")
        axes.set_xlabel("step")
        axes.set_ylabel(quantity)
        axes.grid(alpha=0.25)
        low, high = np.percentile(values, [1, 99]) if len(values) else (0, 1)
        # An overfit model's dev loss rises above all training losses: that turn must be in sight.
        seen = np.array([line[quantity] for line in dev], dtype=np.float64)
        low, high = min([low, *seen[np.isfinite(seen)]]), max([high, *seen[np.isfinite(seen)]])
        if quantity == "accuracy":
            axes.set_ylim(max(low - 0.03, 0), 1.005)
        else:
            axes.set_ylim(0, high * 1.1)
        axes.legend(fontsize=8, loc="best")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes_atomic(path, buffer.getvalue())


def draw_differences(curves: dict[str, dict[str, np.ndarray]], limit: float, title: str, path: Path) -> None:
    """Plot loss differences over steps as PNG, with a logarithmic axis and one panel per run.

    Each dtype has one dot per step (none for a difference of zero) and a line of the running maximum. `curves` holds
    the absolute differences [steps] by run and dtype; `limit` is that of float64.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(len(curves), 3)
    rows = -(-len(curves) // columns)
    size = (9, 4.5) if len(curves) == 1 else (4.2 * columns, 2.6 * rows + 0.6)
    worst = max(float(differences.max()) for by_dtype in curves.values() for differences in by_dtype.values())
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).reshape(-1)
    for axes, (name, by_dtype) in zip(panels, curves.items(), strict=False):
        for dtype, differences in by_dtype.items():
            steps = np.arange(1, len(differences) + 1)
            differences = np.nan_to_num(differences, nan=np.inf).clip(max=1e6)
            label, color = f"{dtype}, maximum {differences.max():.1e}", DTYPE_COLORS[dtype]
            differs = differences > 0
            axes.plot(steps[differs], differences[differs], ".", color=color, alpha=0.35, markersize=3)
            so_far = np.maximum.accumulate(np.maximum(differences, FLOOR))
            axes.plot(steps, so_far, color=color, linewidth=1.4, label=label)
        axes.axhline(limit, color="black", linestyle="--", linewidth=0.8)
        axes.set_yscale("log")
        axes.set_ylim(FLOOR / 2, 1.0 if worst < 0.5 else 2e6)
        axes.set_title(name, fontsize=9)
        axes.grid(alpha=0.25)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(fontsize=7, loc="upper left", framealpha=0.6)
    for axes in panels[len(curves) :]:
        axes.set_visible(False)
    figure.supxlabel("training step", fontsize=9)
    figure.supylabel("absolute loss difference", fontsize=9)
    panels[0].annotate(
        f"float64 limit, {limit:g}",
        (0.99, limit),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="bottom",
        fontsize=7,
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes_atomic(path, buffer.getvalue())


def running_mean(values: np.ndarray, window: int = 50) -> np.ndarray:
    """Return the mean over the last `window` values at each position."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)
