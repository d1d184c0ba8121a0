"""Plot of gradient norms by layer over training steps (`training.watch_gradients`)."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import numpy as np

from core.files import write_bytes_atomic
from core.plots.curves import running_mean
from core.plots.fonts import drawable, fonts_for


def layer_of(name: str) -> str:
    """Return the layer of a parameter: `encoder.l0` of `encoder.weight_ih_l0_reverse`, `head` of `head.bias`."""
    module, _, leaf = name.rpartition(".")
    number = re.search(r"_l(\d+)(_reverse)?$", leaf)
    return f"{module}.l{number[1]}" if number else module


def norms_by_layer(metrics: list[dict]) -> tuple[list[int], dict[str, np.ndarray]]:
    """Return the steps of metrics that have gradient norms, and the norm [steps] of every layer, front to back.

    The norm of a layer is that of all its parameters together; NaN where one is not finite.
    """
    lines = [line for line in metrics if line.get("grad_norms")]
    found: dict[str, list[float]] = {}
    for line in lines:
        squares: dict[str, float] = {}
        for name, norm in line["grad_norms"].items():
            layer = layer_of(name)
            squares[layer] = squares.get(layer, 0.0) + (math.nan if norm is None else norm**2)
        for layer, square in squares.items():
            found.setdefault(layer, []).append(math.sqrt(square))
    whole = {layer: np.array(norms) for layer, norms in found.items() if len(norms) == len(lines)}
    return [line["step"] for line in lines], whole


def draw_gradients(metrics: list[dict], title: str, path: Path) -> None:
    """Plot the gradient norm of every layer before clipping over steps as PNG, with a logarithmic axis.

    Thin lines are single steps, thick ones the running mean. Layers are colored from the front to the back of the
    model: norms that fall toward the front are vanishing gradients.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps, layers = norms_by_layer(metrics)
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    families, missing = fonts_for([drawable(title)])
    figure.suptitle(drawable(title, missing), fontsize=10, fontfamily=families, parse_math=False)
    axes = figure.subplots()
    colors = colormaps["viridis"](np.linspace(0.0, 0.9, max(len(layers), 1)))
    for (layer, norms), color in zip(layers.items(), colors, strict=False):
        norms = np.where(norms > 0, norms, np.nan)  # a logarithmic axis has no zero
        axes.plot(steps, norms, color=color, alpha=0.18, linewidth=0.6)
        axes.plot(steps, running_mean(np.nan_to_num(norms)), color=color, linewidth=1.6, label=layer)
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("gradient norm before clipping")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="best", title="layer, front to back", title_fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes_atomic(path, buffer.getvalue())
