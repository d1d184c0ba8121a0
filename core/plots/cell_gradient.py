"""Plot of the terms of dc_t/dc_{t-1} in an LSTM over the tokens of one sequence."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from core.analysis.cell_gradient import TERMS, TOTAL
from core.files import write_bytes_atomic
from core.plots.fonts import drawable, fonts_for
from core.plots.gates import LABEL_SIZE, LINE, token_labels

COLORS = {"direct": "#228833", "forget_gate": "#4477aa", "input_gate": "#cc3311", "candidate": "#aa3377"}


def draw_cell_gradient(norms: dict[str, np.ndarray], tokens: list[str], title: str, path: Path) -> None:
    """Plot the spectral norms [L - 1] of `term_norms` as PNG, labeled by the tokens that were read.

    `tokens` [L] are in the order of the direction; the first one has no previous cell state.
    """
    # Imported here, as the import takes longer than the computation.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    labels, families, _ = token_labels(tokens)
    title = drawable(title)
    title_families, missing = fonts_for([title])
    width = float(np.clip(LINE * 1.3 * len(tokens), 5.0, 14.0))
    every = int(-(-len(tokens) * LINE // width))
    figure = Figure(figsize=(width + 1.0, 4.1), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(drawable(title, missing), fontsize=10, fontfamily=title_families, parse_math=False)
    axes = figure.subplots()
    steps = np.arange(1, len(tokens))
    for name, label in TERMS.items():
        axes.plot(steps, norms[name], "o-", color=COLORS[name], label=label, markersize=3, linewidth=1.2)
    axes.plot(steps, norms[TOTAL], "k--", label="sum of the four", linewidth=1.2)
    axes.axhline(1.0, color="gray", linewidth=0.6)
    shown = np.arange(1, len(tokens), every)
    style = {"rotation": 90, "fontfamily": families, "parse_math": False}
    axes.set_xticks(shown, [labels[t] for t in shown], **style)
    axes.tick_params(axis="x", labelsize=LABEL_SIZE, length=2, pad=2)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("spectral norm")
    axes.grid(alpha=0.25)
    figure.legend(fontsize=7, loc="outside lower center", ncols=3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_bytes_atomic(path, buffer.getvalue())
