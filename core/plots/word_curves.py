"""Plot of a word2vec run: loss and learning rate over the trained words."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from core.files import write_bytes_atomic
from core.plots.curves import DEV, TRAIN, running_mean
from core.plots.fonts import drawable, fonts_for


def draw_word_curves(metrics: list[dict], title: str, path: Path) -> None:
    """Plot the mean loss per prediction and the learning rate over words as PNG.

    `metrics` are the lines of metrics.jsonl: chunks (`train`), and evaluations with the mean of an epoch so far.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    train = [line for line in metrics if line["split"] == "train"]
    epochs = [line for line in metrics if line["split"] == "evaluation" and line["epoch"] == int(line["epoch"])]
    words = np.array([line["words"] for line in train]) / 1e6
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    families, missing = fonts_for([drawable(title)])
    figure.suptitle(drawable(title, missing), fontsize=10, fontfamily=families, parse_math=False)
    losses, rates = figure.subplots(1, 2)
    values = np.array([line["loss"] for line in train])
    losses.plot(words, values, color=TRAIN, alpha=0.25, linewidth=0.6)
    window = max(len(values) // 50, 1)
    losses.plot(words, running_mean(values, window), color=TRAIN, linewidth=1.6, label="chunks (running mean)")
    if epochs:
        places = [line["words"] / 1e6 for line in epochs]
        label = f"mean of the epoch, {epochs[-1]['loss']:.3f} in the last"
        losses.plot(places, [line["loss"] for line in epochs], "o", color=DEV, label=label)
    losses.set_ylabel("loss per prediction")
    losses.legend(fontsize=8, loc="best")
    rates.plot(words, [line["learning_rate"] for line in train], color=TRAIN)
    rates.set_ylabel("learning rate")
    for axes in (losses, rates):
        axes.set_xlabel("million words")
        axes.grid(alpha=0.25)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes_atomic(path, buffer.getvalue())
