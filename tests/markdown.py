"""Read the documentation: its code, commands, links, headings, and the output that it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(r"^```.*?\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^(?: {4}.*\n(?:[ ]*\n(?= {4}))*)+", re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")
COMMAND = re.compile(r"(?:\S*/)?(?:python3?|torchrun) .*|make .*|seqtwin .*")


def blocks(text: str) -> list[str]:
    """Return the fenced and indented blocks of a page, without indentation."""
    indented = [re.sub(r"^ {4}", "", found, flags=re.MULTILINE) for found in BLOCK.findall(FENCE.sub("", text))]
    return FENCE.findall(text) + indented


def commands(text: str) -> Iterator[str]:
    """Yield every command line of a page: lines of blocks, without their prompt, and spans of code."""
    prose = BLOCK.sub("", FENCE.sub("", text))
    lines = [line.removeprefix("$ ") for block in blocks(text) for line in block.splitlines()]
    for line in [*lines, *(" ".join(span.split()) for span in SPAN.findall(prose))]:
        if COMMAND.fullmatch(line):
            yield line


def links(text: str) -> list[str]:
    """Return the targets of links and pictures outside code."""
    prose = SPAN.sub("`", BLOCK.sub("", FENCE.sub("", text)))
    return re.findall(r"\]\(([^()\s]+)\)", prose)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page: of its headings, as GitHub derives them, and its own."""
    found: set[str] = set(re.findall(r'<a id="([^"]+)">', text))
    for title in re.findall(r"^#+ +(.*)$", FENCE.sub("", text), re.MULTILINE):
        title = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", title).replace(" ", "-")
        number = sum(slug == other or re.fullmatch(rf"{re.escape(slug)}-\d+", other) is not None for other in found)
        found.add(f"{slug}-{number}" if number else slug)
    return found


def shown_output(text: str, program: str) -> list[str]:
    """Return the lines that a page shows as the output of `python -m PROGRAM ...`, after its prompt."""
    for block in blocks(text):
        first, *rest = block.splitlines()
        if first.split()[:4] == ["$", "python", "-m", program] or (f" {program} " in f" {first} " and first[0] == "$"):
            return [line for line in rest if line.strip() not in ("", "...")]
    raise AssertionError(f"no output of {program} is shown")


def shape(line: str) -> str:
    """Return what must recur of a line of output: its label, or the whole line without its figures.

    A label is the words before a column of values or a colon. A line of figures, as `epoch 1/2  step 625`, is compared
    as a whole. "" stands for a line that continues another.
    """
    label = re.match(r"\s*([a-z]+(?: [a-z]+)*)(?=:| {2,}| \d)", line)
    if label is None:
        return ""
    return re.sub(r"\d[\d.,]*", "N", line.strip()) if re.match(r" \d", line[label.end() :]) else label[1]


def first_difference(shown: list[str], output: str) -> str | None:
    """Return the first line shown whose shape does not occur in the output, after those of the lines before it."""
    shapes = iter([shape(line) for line in output.splitlines()])
    return next((line for line in shown if shape(line) and shape(line) not in shapes), None)
