"""Draw the pictures of docs/words.md: windows, subsampling and noise, from the counts of real reviews.

python -m tools.word_pictures --data aclImdb.tar.gz     # writes docs/words/*.svg and *.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from core.spec.words import Reviews, WordExperiment
from core.words.corpus import WordCorpus
from core.words.sampling import noise_table
from core.words.texts import load_corpus
from tools.modes import INPUT, OUTPUT, STATE, arrow, box

DOCS = Path(__file__).resolve().parents[1] / "docs"
SENTENCE = ("the", "acting", "is", "really", "very", "good")
CENTER, REACH = 3, 2
NAMED = ("the", "movie", "good", "acting", "boring", "kurosawa")
"""Words that the plots name, where the reviews have them."""


def windows(axes: Axes, skip_gram: bool) -> None:
    """Draw which word predicts which, for one center and a window of `REACH`."""
    near = [n for n in range(len(SENTENCE)) if 0 < abs(n - CENTER) <= REACH]
    high, low = 1.5, 0.0
    for number, word in enumerate(SENTENCE):
        axes.text(number, low - 0.75, word, ha="center", va="center", fontsize=9, color=STATE)
    inputs, outputs = ([CENTER], near) if skip_gram else (near, [CENTER])
    for number in inputs:
        box(axes, (number, low), "in", INPUT)
    for number in outputs:
        box(axes, (number, high), "out", OUTPUT)
    for start in inputs:
        for end in outputs:
            arrow(axes, (start, low + 0.25), (end, high - 0.25))
    axes.set_title(
        "skip-gram: the center predicts each context word"
        if skip_gram
        else "CBOW: the mean of the context predicts the center",
        fontsize=10,
    )
    axes.set_xlim(-0.6, len(SENTENCE) - 0.4)
    axes.set_ylim(low - 1.1, high + 0.5)
    axes.axis("off")


def draw_windows() -> Figure:
    figure = Figure(figsize=(9.2, 2.7), layout="constrained")
    for axes, skip_gram in zip(figure.subplots(1, 2), (True, False), strict=True):
        windows(axes, skip_gram)
    return figure


def ranks(corpus: WordCorpus) -> dict[str, int]:
    return {word: corpus.index[word] for word in NAMED if word in corpus.index}


def draw_subsampling(corpus: WordCorpus, subsample: float) -> Figure:
    """Draw the counts of all words before and after subsampling, by rank."""
    counts = corpus.counts.astype(np.float64)
    kept = np.minimum(1.0, np.sqrt(subsample * counts.sum() / counts))
    place = np.arange(1, len(counts) + 1)
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.loglog(place, counts, color=STATE, label="in the reviews")
    axes.loglog(place, counts * kept, color=OUTPUT, label=f"kept, on average (subsample {subsample:g})")
    for word, rank in ranks(corpus).items():
        axes.plot([rank + 1] * 2, [counts[rank], counts[rank] * kept[rank]], color=INPUT, linewidth=0.8, marker=".")
        axes.annotate(
            f"{word}: {kept[rank]:.0%}", (rank + 1, counts[rank]), (4, 4), textcoords="offset points", fontsize=8
        )
    axes.set_xlabel("rank of the word")
    axes.set_ylabel("occurrences")
    axes.set_title(f"{kept @ counts / counts.sum():.0%} of {counts.sum() / 1e6:.1f} M words are kept", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    return figure


def draw_noise(corpus: WordCorpus, power: float) -> Figure:
    """Draw the probability of every word as noise, by rank, for several powers of its count."""
    place = np.arange(1, len(corpus.counts) + 1)
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    for exponent, color in ((1.0, STATE), (power, OUTPUT), (0.0, INPUT)):
        share = noise_table(corpus.counts, exponent).probabilities
        axes.loglog(place, share, color=color, label=f"count to the power of {exponent:g}")
        if exponent == power:
            for word, rank in ranks(corpus).items():
                axes.plot(rank + 1, share[rank], color=color, marker=".")
                axes.annotate(word, (rank + 1, share[rank]), (4, 4), textcoords="offset points", fontsize=8)
    axes.set_xlabel("rank of the word")
    axes.set_ylabel("probability as a noise word")
    axes.legend(frameon=False, fontsize=8)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="packaged", help="IMDB reviews: packaged, or the path of an archive")
    parser.add_argument("--cache-dir", default="~/.cache/seqtwin")
    parser.add_argument("--out", type=Path, default=DOCS / "words")
    given = parser.parse_args()
    experiment = WordExperiment(data=Reviews(source=given.data))
    corpus, _ = load_corpus(experiment, Path(given.cache_dir).expanduser())
    given.out.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "words", "font.family": "sans-serif"}):
        draw_windows().savefig(given.out / "windows.svg", metadata={"Date": None}, facecolor="white")
    for name, figure in (
        ("subsampling", draw_subsampling(corpus, experiment.training.subsample)),
        ("noise", draw_noise(corpus, experiment.model.noise_power)),
    ):
        figure.savefig(given.out / f"{name}.png", dpi=110)
        print(given.out / f"{name}.png")


if __name__ == "__main__":
    main()
