"""Write `differences.md` from the texts of the measurements and the figures in `differences.json`."""

from __future__ import annotations

from pathlib import Path

from tools.differences import AGREEMENTS, REGISTRY, Figures, Measurement

HEAD = """# Differences between PaddlePaddle and PyTorch

Where do the frameworks differ if a model is written in both with default settings? This page lists the differences,
their measured effects, and what seqtwin does instead. It helps to port a model from one framework to the other, and to
explain why two runs differ.

A small function, linked at the end of each entry, measures the figures with fixed seeds. `python -m tools.differences`
writes them into this page and into [differences.json](differences.json). They were measured with {versions}, on
{machine}.
"""

METHOD = """
"A small BiLSTM" is the same model throughout: 200 word vectors of size 8, a bidirectional LSTM with 8 units, mean
pooling over time, a linear layer and two classes. Batches are 16 random sequences of 8 tokens, without padding. Both
frameworks start from the same values, except in the section on starting values
([small.py](../tools/differences/small.py)). A difference of "the loss" is the largest difference in any step so far.
"""


class Number(float):
    """A float with a short format `e`, as 3.1e-7."""

    def __format__(self, spec: str) -> str:
        if spec != "e":
            text = super().__format__(spec)
            return short(text) if "e" in text else text
        return "0" if self == 0 else short(super().__format__(".1e"))


def short(text: str) -> str:
    """Shorten an exponent notation: 1.0e-07 becomes 1e-7."""
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def fill(text: str, figures: Figures) -> str:
    """Fill figures into a text."""
    return text.format(**{k: Number(v) if isinstance(v, float) else v for k, v in figures.items()})


def alike(one: object, other: object) -> bool:
    """Return whether figures are equal, both rounding errors, or within a third of each other."""
    if not isinstance(one, float) or not isinstance(other, float):
        return one == other
    if max(abs(one), abs(other)) < 1e-12:
        return True
    return abs(one - other) <= 0.33 * max(abs(one), abs(other))


def all_alike(one: Figures, other: Figures) -> bool:
    """Return whether all figures of a measurement are similar."""
    return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)


def older_text(entry: Measurement, figures: Figures, older: Figures) -> str:
    """Return the text for an older Paddle: "the same.", the effect with its figures, or the text `older`."""
    if entry.claim(older):
        return "the same." if all_alike(figures, older) else fill(entry.effect, older)
    return fill(entry.older, older)


def draw(results: dict) -> str:
    """Return the whole page."""
    runs = sorted(results["runs"].values(), key=lambda run: int(run["versions"]["paddle"].split(".")[0]), reverse=True)
    newest, rest = runs[0], runs[1:]
    versions = newest["versions"]
    shown = f"torch {versions['torch']} and Paddle {versions['paddle']}"
    if rest:
        shown += ", and again with Paddle " + " and ".join(run["versions"]["paddle"] for run in rest)
    machine = f"{newest['machine']['cores']} cores of an {newest['machine']['cpu']}, without a GPU"
    parts = [HEAD.format(versions=shown, machine=machine), "\n## Overview\n", "| | |\n|---|---|"]
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
    """Return an entry: both frameworks, the effect, what seqtwin does, older versions."""
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
    """Return the table of agreements: the largest difference with each version of Paddle."""
    runs = [newest, *rest]
    lines = [
        f"## {AGREEMENTS}\n",
        "No difference was found here; the table shows the largest difference measured.\n",
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
    """Return a link to the function."""
    file = Path(entry.measure.__code__.co_filename).name
    return f"[{entry.id}](../tools/differences/{file})"


def unfit(run: dict, newest: bool) -> list[str]:
    """Return the measurements whose figures contradict the text of the page."""
    wrong = []
    for name, figures in run["figures"].items():
        entry = REGISTRY.get(name)
        if entry is not None and not entry.claim(figures) and (newest or not entry.older):
            wrong.append(name)
    return wrong
