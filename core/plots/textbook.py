"""Plots of the textbook's experiments (nndl, chapter 6): memory, gradient norms and powers of U."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.analysis.gradient_flow import Powers
from core.files import write_bytes_atomic
from core.plots.curves import DEV, TRAIN

CELL_COLORS = {"srn": "#cc3311", "gru": "#228833", "lstm": "#4477aa", "residual_srn": "#aa3377"}
TINY = 1e-6
"""Minimum norm that is drawn on a logarithmic axis."""
MARKERS = {"srn": "o", "gru": "s", "lstm": "^", "residual_srn": "D"}


def draw_losses(lines: list[dict], lengths: tuple[int, ...], title: str, path: Path) -> None:
    """Plot train and dev losses over steps as PNG, per length, like figures 6.6 and 6.11.

    Thin lines are single seeds, the thick line is their mean. `lines` are those of metrics.jsonl of an ensemble, with
    runs `L{length}-seed{seed}`.
    """
    columns = min(len(lengths), 3)
    rows = -(-len(lengths) // columns)
    figure = _figure(3.6 * columns, 2.5 * rows + 0.5, title)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).reshape(-1)
    highest = 0.0
    for axes, length in zip(panels, lengths, strict=False):
        for split, color in (("train", TRAIN), ("dev", DEV)):
            runs: dict[str, dict[int, float]] = {}
            for line in lines:
                if line["split"] == split and line.get("run", "").startswith(f"L{length}-"):
                    loss = np.nan if line["loss"] is None else line["loss"]
                    runs.setdefault(line["run"], {})[line["step"]] = loss
            # A damaged file may lack lines: a mean needs all seeds.
            steps = sorted(set.intersection(*map(set, runs.values()))) if runs else []
            if not steps:
                continue
            each = np.array([[run[step] for step in steps] for run in runs.values()])  # [seeds, evaluations]
            axes.plot(steps, each.T, color=color, alpha=0.2, linewidth=0.7)
            axes.plot(steps, each.mean(axis=0), color=color, linewidth=1.7, label=split)
            highest = max(highest, float(np.nanmax(each[:, 0])), float(np.nanpercentile(each, 98)))
        axes.set_title(f"length {length}", fontsize=9)
        axes.grid(alpha=0.25)
    for axes in panels[len(lengths) :]:
        axes.set_visible(False)
    panels[0].set_ylim(0, highest * 1.08)
    panels[0].legend(fontsize=8)
    figure.supxlabel("step", fontsize=9)
    figure.supylabel("cross-entropy", fontsize=9)
    _save(figure, path)


def draw_accuracy(rows: list[dict], title: str, path: Path) -> None:
    """Plot dev and test accuracy over length as PNG, like figures 6.7 and 6.12.

    It shows the mean over seeds, the range, and single seeds. `rows` hold `cell`, `length`, and `dev` and `test`
    [seeds].
    """
    figure = _figure(9, 3.8, title)
    cells = list(dict.fromkeys(row["cell"] for row in rows))
    for axes, part in zip(figure.subplots(1, 2, sharey=True), ("dev", "test"), strict=True):
        for cell in cells:
            own = sorted((row for row in rows if row["cell"] == cell), key=lambda row: row["length"])
            lengths, values = [row["length"] for row in own], np.array([row[part] for row in own])  # [lengths, seeds]
            color = CELL_COLORS[cell]
            axes.fill_between(lengths, values.min(axis=1), values.max(axis=1), color=color, alpha=0.12, linewidth=0)
            axes.plot(lengths, values, MARKERS[cell], color=color, alpha=0.35, markersize=3)
            axes.plot(lengths, values.mean(axis=1), f"{MARKERS[cell]}-", color=color, label=cell, markersize=5)
        axes.set_title("dev, best checkpoint" if part == "dev" else "test, best checkpoint on dev", fontsize=9)
        axes.set_xlabel("sequence length")
        axes.set_xticks(sorted({row["length"] for row in rows}))
        axes.grid(alpha=0.25)
        axes.set_ylim(0, 1.02)
        axes.set_ylabel("accuracy")
        axes.legend(fontsize=8, loc="lower left")
    _save(figure, path)


@dataclass(frozen=True)
class Norms:
    """Gradient norms before clipping of several seeds."""

    values: dict[str, np.ndarray]
    """Norms [steps, seeds] by tensor."""
    seeds: list[int]


def draw_norms(norms: Norms, title: str, path: Path, log: bool, limit: float | None = None) -> None:
    """Plot gradient norms over steps as PNG, one panel per tensor, like figures 6.8 and 6.9.

    It shows the first seed, as in the book, thin lines for the other seeds, the median, and the clipping limit. `log`:
    with a logarithmic axis.
    """
    count, seeds = len(norms.values), norms.seeds
    figure = _figure(3.6 * count, 3.4, title)
    for axes, (name, values) in zip(figure.subplots(1, count, squeeze=False)[0], norms.values.items(), strict=True):
        steps = np.arange(1, len(values) + 1)
        # Zeros and tiny norms are omitted on a logarithmic axis, where they would only appear as vertical lines.
        shown = np.where(values > (TINY if log else -1.0), values, np.nan)
        median = np.median(values, axis=1)
        axes.plot(steps, shown[:, 1:], color=TRAIN, alpha=0.25, linewidth=0.6)
        axes.plot(steps, shown[:, 0], color=TRAIN, linewidth=1.1, label=f"seed {seeds[0]}")
        median = np.where(median > (TINY if log else -1.0), median, np.nan)
        axes.plot(steps, median, color=DEV, linewidth=1.3, label=f"median of {len(seeds)} seeds")
        if limit is not None:
            axes.axhline(limit, color="black", linestyle="--", linewidth=0.9, label=f"clipped to {limit:g}")
        if log:
            axes.set_yscale("log")
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("step")
        axes.grid(alpha=0.25)
    figure.axes[0].set_ylabel("gradient norm before clipping")
    figure.axes[0].legend(fontsize=8)
    _save(figure, path)


def draw_vanishing(norms: dict[str, dict[str, np.ndarray]], title: str, path: Path) -> None:
    """Plot |dL/dh_t| over t as PNG, one panel per entry of `norms` (untrained, trained).

    Panels hold [L, seeds] by state, such as `lstm h` and `lstm c`, drawn as median and interquartile range.
    """
    figure = _figure(9, 3.8, title)
    for axes, (when, states) in zip(figure.subplots(1, len(norms), sharey=True), norms.items(), strict=True):
        for name, values in states.items():
            cell, _, part = name.partition(" ")
            steps, color = np.arange(1, len(values) + 1), CELL_COLORS[cell]
            low, middle, high = np.maximum(np.quantile(values, [0.25, 0.5, 0.75], axis=1), 1e-30)
            style = {"linestyle": "--", "fillstyle": "none"} if part == "c" else {"linestyle": "-"}
            axes.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
            axes.plot(steps, middle, marker=MARKERS[cell], color=color, label=name, markersize=4, **style)
        axes.set_yscale("log")
        axes.set_title(when, fontsize=10)
        axes.set_xlabel("t")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8)
    figure.axes[0].set_ylabel("|dL/dh_t| and |dL/dc_t|, relative to the last |dL/dh_t|")
    _save(figure, path)


def draw_powers(powers: dict[str, Powers], title: str, path: Path) -> None:
    """Plot |U^k| and the k-th power of U's spectral radius over k as PNG, one panel per entry of `powers`.

    Drawn as median over seeds and range.
    """
    figure = _figure(9, 3.4, title)
    for axes, (when, own) in zip(figure.subplots(1, len(powers), sharey=True), powers.items(), strict=True):
        steps = np.arange(1, own.norms.shape[1] + 1)
        radius = own.radius[:, None] ** steps
        for values, color, line, label in (
            (own.norms, CELL_COLORS["srn"], "o-", "|U^k|"),
            (radius, "black", "--", "spectral radius to the power k"),
        ):
            # A zero matrix has no place on a logarithmic axis.
            values = np.maximum(values, 1e-30)
            axes.fill_between(steps, values.min(axis=0), values.max(axis=0), color=color, alpha=0.12, linewidth=0)
            axes.plot(steps, np.median(values, axis=0), line, color=color, label=label, markersize=3)
        axes.set_yscale("log")
        axes.set_title(f"{when}, radius {np.median(own.radius):.3f}", fontsize=10)
        axes.set_xlabel("k")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8)
    figure.axes[0].set_ylabel("spectral norm")
    _save(figure, path)


def _figure(width: float, height: float, title: str):
    # Imported here, as the import is slow (`core/plots/curves.py`).
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    return figure


def _save(figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    write_bytes_atomic(path, buffer.getvalue())
