"""Draw the pictures of docs/modes.md: the three modes of a sequence model, as SVG.

python -m tools.modes                 # writes docs/modes/*.svg
python -m tools.modes --out FOLDER
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parents[1] / "docs"
INPUT, STATE, OUTPUT, POOL = "#2f6fb0", "#5c666f", "#c8451f", "#2a8a4a"
WIDTH, HEIGHT = 0.78, 0.5
"""Size of a box; steps are 1 apart."""
ROWS = {"input": 0.0, "state": 1.1, "pool": 2.2, "output": 3.2}


def box(axes: Axes, center: tuple[float, float], text: str, color: str, width: float = WIDTH) -> None:
    """Draw a box with a text."""
    from matplotlib.patches import FancyBboxPatch

    x, y = center
    corner = (x - width / 2, y - HEIGHT / 2)
    axes.add_patch(
        FancyBboxPatch(
            corner, width, HEIGHT, boxstyle="round,pad=0,rounding_size=0.09", facecolor="white", edgecolor=color
        )
    )
    axes.text(x, y, text, ha="center", va="center", fontsize=9, color=color)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str = STATE) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": color, "linewidth": 1.0})


def up(axes: Axes, x: float, low: str, high: str, color: str = STATE) -> None:
    """Draw an arrow between the boxes of two rows."""
    arrow(axes, (x, ROWS[low] + HEIGHT / 2), (x, ROWS[high] - HEIGHT / 2), color)


def chain(axes: Axes, tokens: list[str], first: int, name: str) -> None:
    """Draw inputs and states of consecutive steps, from step `first`."""
    for number, token in enumerate(tokens):
        x = first + number
        box(axes, (x, ROWS["input"]), token, INPUT)
        box(axes, (x, ROWS["state"]), f"{name}{number + 1}", STATE)
        up(axes, x, "input", "state", INPUT)
        if number:
            arrow(axes, (x - 1 + WIDTH / 2, ROWS["state"]), (x - WIDTH / 2, ROWS["state"]))


def sequence_to_class(axes: Axes) -> None:
    tokens = ["a", "good", "film", "!"]
    chain(axes, tokens, 0, "h")
    middle = (len(tokens) - 1) / 2
    box(axes, (middle, ROWS["pool"]), "mean, maximum or last state", POOL, 3.2)
    for x in range(len(tokens)):
        up(axes, x, "state", "pool", POOL)
    box(axes, (middle, ROWS["output"]), "positive", OUTPUT, 1.3)
    up(axes, middle, "pool", "output", OUTPUT)


def synchronous(axes: Axes) -> None:
    tokens, tags = ["我", "爱", "自", "然"], ["S", "S", "B", "E"]
    chain(axes, tokens, 0, "h")
    for x, tag in enumerate(tags):
        box(axes, (x, ROWS["pool"]), tag, OUTPUT)
        up(axes, x, "state", "pool", OUTPUT)


def asynchronous(axes: Axes) -> None:
    source, target = ["5", "3", "+", "6"], ["<bos>", "5", "9"]
    chain(axes, source, 0, "h")
    chain(axes, target, len(source), "d")
    border = len(source) - 1
    arrow(axes, (border + WIDTH / 2, ROWS["state"]), (border + 1 - WIDTH / 2, ROWS["state"]), POOL)
    axes.text(border + 0.5, ROWS["state"] + 0.4, "state", ha="center", fontsize=8, color=POOL)
    for number, token in enumerate([*target[1:], "<eos>"]):
        x = len(source) + number
        box(axes, (x, ROWS["pool"]), token, OUTPUT)
        up(axes, x, "state", "pool", OUTPUT)
        if number < len(target) - 1:
            arrow(axes, (x + WIDTH / 2, ROWS["pool"] - 0.1), (x + 1 - WIDTH / 2, ROWS["input"] + 0.1), OUTPUT)


PICTURES: dict[str, tuple[Callable[[Axes], None], int, float]] = {
    "sequence-to-class": (sequence_to_class, 4, ROWS["output"]),
    "synchronous": (synchronous, 4, ROWS["pool"]),
    "asynchronous": (asynchronous, 7, ROWS["pool"]),
}
"""Function, number of steps and highest row by file name."""


def draw(folder: Path) -> list[Path]:
    """Write the pictures to an existing folder; return their paths."""
    paths = []
    # Text stays text: the reader's browser has fonts for Chinese characters, if matplotlib has none.
    warnings.filterwarnings("ignore", message="Glyph .* missing")
    style = {"svg.fonttype": "none", "svg.hashsalt": "modes", "font.family": "sans-serif"}
    with matplotlib.rc_context(style):
        for name, (picture, steps, top) in PICTURES.items():
            figure = Figure(figsize=(0.95 * steps, 0.8 * (top + 1.0)))
            FigureCanvasSVG(figure)
            axes = figure.add_axes((0, 0, 1, 1))
            axes.set_xlim(-0.6, steps - 0.4)
            axes.set_ylim(-0.5, top + 0.5)
            axes.axis("off")
            picture(axes)
            path = folder / f"{name}.svg"
            figure.savefig(path, format="svg", metadata={"Date": None}, facecolor="white")
            paths.append(path)
    return paths


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", metavar="FOLDER", default=DOCS / "modes", type=Path, help="folder [docs/modes]")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for path in draw(arguments.out):
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
