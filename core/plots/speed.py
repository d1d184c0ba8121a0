"""Bar charts of the times of all implementations of recurrent layers."""

from __future__ import annotations

import io
from pathlib import Path

from core.benchmark.timing import Summary
from core.files import write_bytes_atomic

COLORS = {
    "torch fast": "#000000",
    "Paddle fast": "#222266",
    "torch padded": "#4477aa",
    "torch packed": "#66bbdd",
    "torch builtin": "#bbddee",
    "Paddle installed": "#bb2211",
    "Paddle best": "#f0a090",
    "torch loop": "#666600",
    "Paddle loop": "#cccc66",
}
"""Blue for torch, red for Paddle, olive for loops; adjacent bars also differ in grayscale."""

TICKS = [digit * 10.0**exponent for exponent in range(-4, 5) for digit in (1, 2, 5)]


def draw_speed(panels: dict[str, dict[str, dict[str, Summary]]], title: str, unit: str, path: Path) -> None:
    """Plot grouped bars as PNG on a logarithmic axis: a group per shape, a bar per series.

    Bars show the median with its value, and a line between the quartiles. `panels` holds summaries, in `unit`, by panel
    title, series and shape; all panels share the series.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for series in panels.values() for name in series))
    shapes = list(dict.fromkeys(shape for series in panels.values() for values in series.values() for shape in values))
    # Just wide enough for a number above each bar: a wider plot would be scaled down too much on a page.
    width = max(5.0, 0.145 * (len(names) + 1.5) * len(shapes) + 0.8)
    height = 2.4 if len(panels) == 1 else 1.8
    figure = Figure(figsize=(width, height * len(panels) + 1.0), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    axes_of = figure.subplots(len(panels), 1, sharey=True, squeeze=False)[:, 0]
    values = [summary.median for series in panels.values() for own in series.values() for summary in own.values()]
    low, high = min([*values, 1.0]), max([*values, 1.0])
    for axes, (heading, series) in zip(axes_of, panels.items(), strict=True):
        for number, name in enumerate(names):
            own = series.get(name, {})
            places = [shapes.index(shape) + (number - (len(names) - 1) / 2) / (len(names) + 1.5) for shape in own]
            medians = [summary.median for summary in own.values()]
            spread = [
                [summary.median - summary.low for summary in own.values()],
                [summary.high - summary.median for summary in own.values()],
            ]
            axes.bar(
                places,
                [median - 1.0 for median in medians],
                1 / (len(names) + 1.5),
                bottom=1.0,
                color=COLORS.get(name, "#999999"),
                edgecolor="black",
                linewidth=0.3,
                label=name,
            )
            axes.errorbar(places, medians, spread, fmt="none", ecolor="black", elinewidth=0.7)
            for place, summary in zip(places, own.values(), strict=True):
                above = max(summary.high, 1.0)
                text = f"{summary.median:.0f}" if summary.median >= 9.95 else f"{summary.median:.1f}"
                axes.annotate(
                    text, (place, above), (0, 2), textcoords="offset points", ha="center", va="bottom", fontsize=5.5,
                    rotation=90,
                )  # fmt: skip
        axes.axhline(1.0, color="black", linewidth=0.8)
        axes.set_yscale("log")
        axes.set_ylim(low / 1.3, high * 2.2)
        axes.set_yticks([tick for tick in TICKS if low / 1.3 < tick < high * 2.2])
        axes.set_yticks([], minor=True)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xticks(range(len(shapes)), shapes, fontsize=8)
        axes.tick_params(axis="y", labelsize=8)
        axes.tick_params(axis="x", length=0)
        axes.set_xlim(-0.5, len(shapes) - 0.5)
        axes.set_title(heading, fontsize=9)
        axes.grid(axis="y", alpha=0.25)
        axes.set_axisbelow(True)
    figure.supylabel(unit, fontsize=9)
    handles, labels = axes_of[0].get_legend_handles_labels()
    columns = min(len(names), int(width / 1.4))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    write_bytes_atomic(path, buffer.getvalue())
