"""Draws `differences.md` from the texts beside the measurements and the figures in `differences.json`."""

from __future__ import annotations

from pathlib import Path

from tools.differences import AGREEMENTS, REGISTRY, Figures, Measurement

HEAD = """# Where PaddlePaddle and PyTorch differ by themselves

The same model, written in both frameworks with their defaults, is two models. This page lists where, how much it moves,
and what seqtwin's spec says instead. It is for who ports a model from one to the other, and for who wonders why two
runs differ.

Every figure here was measured by a small function, named at the end of each entry, on fixed seeds, and is written in by
`python -m tools.differences` (figures: [differences.json](differences.json)). Measured with {versions}, on
{machine}. `3e-7` is 3 in ten million.
"""

METHOD = """
"A small BiLSTM" is, everywhere here: 200 word vectors of 8 numbers, a bidirectional LSTM of 8, the mean over time, a
linear layer, two classes; batches of 16 made-up sentences of 8 words, all equally long. Both sides start from the same
values unless starting values are the question ([small.py](../tools/differences/small.py)). Where a difference is called
"the loss", it is the largest difference of the loss in any step so far.
"""


class Number(float):
    """A float whose format `e` is short: 3.1e-7."""

    def __format__(self, spec: str) -> str:
        if spec != "e":
            text = super().__format__(spec)
            return short(text) if "e" in text else text
        return "0" if self == 0 else short(super().__format__(".1e"))


def short(text: str) -> str:
    """1.0e-07 -> 1e-7"""
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def fill(text: str, figures: Figures) -> str:
    """The text with its figures."""
    return text.format(**{k: Number(v) if isinstance(v, float) else v for k, v in figures.items()})


def alike(one: object, other: object) -> bool:
    """Whether two figures would be read as the same: equal, both rounding, or within a third of each other."""
    if not isinstance(one, float) or not isinstance(other, float):
        return one == other
    if max(abs(one), abs(other)) < 1e-12:
        return True
    return abs(one - other) <= 0.33 * max(abs(one), abs(other))


def all_alike(one: Figures, other: Figures) -> bool:
    """Whether all figures of a measurement are."""
    return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)


def older_text(entry: Measurement, figures: Figures, older: Figures) -> str:
    """What to say of an older Paddle: the same, the text for it, or the effect with its figures."""
    if entry.claim(older):
        return "the same." if all_alike(figures, older) else fill(entry.effect, older)
    return fill(entry.older, older)


def draw(results: dict) -> str:
    """The whole page."""
    runs = sorted(results["runs"].values(), key=lambda run: int(run["versions"]["paddle"].split(".")[0]), reverse=True)
    newest, rest = runs[0], runs[1:]
    versions = newest["versions"]
    shown = f"torch {versions['torch']} and Paddle {versions['paddle']}"
    if rest:
        shown += ", and again with Paddle " + " and ".join(run["versions"]["paddle"] for run in rest)
    machine = f"{newest['machine']['cores']} cores of an {newest['machine']['cpu']}, without a GPU"
    parts = [HEAD.format(versions=shown, machine=machine), "\n## At a glance\n", "| | |\n|---|---|"]
    for entry in REGISTRY.values():
        if entry.size:
            parts.append(f"| [{entry.title}](#{entry.id}) | {fill(entry.size, newest['figures'][entry.id])} |")
    parts.append(METHOD)
    section = None
    for entry in REGISTRY.values():
        if entry.section == AGREEMENTS:
            continue
        if entry.section != section:
            section = entry.section
            parts.append(f"## {section}\n")
        parts.append(draw_difference(entry, newest, rest))
    parts.append(draw_agreements(newest, rest))
    return "\n".join(parts)


def draw_difference(entry: Measurement, newest: dict, rest: list[dict]) -> str:
    """One entry: both sides, the effect, what the spec says, versions."""
    figures = newest["figures"][entry.id]
    lines = [f'<a id="{entry.id}"></a>\n', f"### {entry.title}\n"]
    if entry.torch:
        lines += ["| PyTorch | Paddle |", "|---|---|", f"| {entry.torch} | {entry.paddle} |\n"]
    lines += [f"**Measured:** {fill(entry.effect, figures)}\n", f"**seqtwin:** {entry.ours}\n"]
    for run in rest:
        if entry.id in run["figures"]:
            lines.append(
                f"**Paddle {run['versions']['paddle']}:** {older_text(entry, figures, run['figures'][entry.id])}\n"
            )
    lines.append(f"<sub>{source(entry)}</sub>\n")
    return "\n".join(lines)


def draw_agreements(newest: dict, rest: list[dict]) -> str:
    """A table: what, and the largest difference on each Paddle."""
    runs = [newest, *rest]
    lines = [
        f"## {AGREEMENTS}\n",
        "Suspected, checked, and the same: the largest difference found.\n",
        "| | " + " | ".join(f"Paddle {run['versions']['paddle']}" for run in runs) + " | |",
        "|---" * (len(runs) + 2) + "|",
    ]
    for entry in REGISTRY.values():
        if entry.section == AGREEMENTS:
            cells = []
            for run in runs:
                figures = run["figures"].get(entry.id)
                if figures is None:
                    cells.append("")
                else:
                    cells.append(fill(entry.effect if entry.claim(figures) else entry.older, figures))
            lines.append(f'| <a id="{entry.id}"></a>{entry.title} | ' + " | ".join(cells) + f" | {source(entry)} |")
    return "\n".join(lines) + "\n"


def source(entry: Measurement) -> str:
    """A link to the function."""
    file = Path(entry.measure.__code__.co_filename).name
    return f"[{entry.id}](../tools/differences/{file})"


def unfit(run: dict, newest: bool) -> list[str]:
    """Measurements whose figures the page's text does not fit."""
    wrong = []
    for name, figures in run["figures"].items():
        entry = REGISTRY.get(name)
        if entry is not None and not entry.claim(figures) and (newest or not entry.older):
            wrong.append(name)
    return wrong
