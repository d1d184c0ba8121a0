"""The generated part of docs/results.md: tables of recipes from the stored figures, and the published ladder."""

from __future__ import annotations

import json
import statistics
from itertools import groupby
from pathlib import Path

from core.errors import UserError
from tools.results.stored import Row

BEGIN = "<!-- table of recipes, written by python -m tools.results -->"
END = "<!-- end of the table of recipes -->"
PUBLISHED = Path(__file__).with_name("published.json")
"""Published accuracies on the official IMDB test, with their sources."""
HEAD = ("recipe", "framework", "seeds", "test accuracy", "dev accuracy", "seconds", "parameters", "n-grams alone")
NAMES = {"torch": "PyTorch", "paddle": "Paddle", "numpy": "NumPy"}


def replaced(text: str, rows: list[Row], where: str) -> str:
    """Return a page with its generated part replaced. Raises UserError without the two markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{where}: a marker is missing: add the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{generated(rows)}\n{END}{after}"


def generated(rows: list[Row]) -> str:
    """Return the generated part: the tables and the published ladder."""
    return f"{tables(rows)}\n{ladder()}"


def tables(rows: list[Row]) -> str:
    """Return a table per task and data set, in Markdown."""
    found = []
    for task, data in sorted({(row["task"], row["data"]) for row in rows}):
        own = [row for row in rows if (row["task"], row["data"]) == (task, data)]
        sizes = {tuple(row[f"{split}_texts"] for split in ("train", "dev", "test")) for row in own}
        texts = "; ".join(
            ", ".join(f"{n:,} {split}" for n, split in zip(size, ("train", "dev", "test"), strict=True))
            for size in sorted(sizes)
        )
        found.append(f"**{task}, {data} data**: {texts}.\n")
        found += [_line(HEAD), _line("---" for _ in HEAD), *map(_line, _cells(own)), ""]
    return "\n".join(found)


def ladder() -> str:
    """Return the table of published accuracies."""
    lines = ["Published accuracies on the official IMDB test:\n", _line(("model", "test accuracy", "source"))]
    lines.append(_line(("---", "---", "---")))
    for own in published():
        high = f" to {own['high']:g}" if own["high"] != own["low"] else ""
        more = ", with unlabeled texts" if own["unlabeled"] else ""
        lines.append(_line((own["model"], f"{own['low']:g}{high}", own["source"] + more)))
    return "\n".join([*lines, ""])


def published() -> list[dict]:
    """Return the published accuracies: model, low, high, source, and whether unlabeled texts were used."""
    return json.loads(PUBLISHED.read_text(encoding="utf-8"))


def groups(rows: list[Row]) -> list[list[Row]]:
    """Return the rows of each recipe and framework, by the best mean test accuracy of the recipe."""

    def name(row: Row) -> tuple:
        return row["recipe"], row["framework"]

    found = [list(own) for _, own in groupby(sorted(rows, key=name), key=name)]
    means = {}
    for own in found:
        means.setdefault(own[0]["recipe"], []).append(statistics.mean(row["test"] for row in own))

    def order(own: list[Row]) -> tuple:
        recipe, framework = own[0]["recipe"], own[0]["framework"]
        return -max(means[recipe]), recipe, framework != "torch"

    return sorted(found, key=order)


def _cells(rows: list[Row]):
    for own in groups(rows):
        seeds, sizes = (sorted(row[name] for row in own) for name in ("seed", "parameters"))
        linear = [row["ngrams"]["test"] for row in own if row["ngrams"]]
        yield (
            own[0]["recipe"],
            NAMES.get(own[0]["framework"], own[0]["framework"]),
            f"{_ranges(seeds)} ({max(row['date'] for row in own)})",
            spread([row["test"] for row in own]),
            spread([row["dev"] for row in own]),
            f"{statistics.mean(row['seconds'] for row in own):.0f}",
            " to ".join(f"{size:,}" for size in sorted({sizes[0], sizes[-1]})),
            f"{statistics.mean(linear):.4f}" if linear else "-",
        )


def spread(values: list[float]) -> str:
    """Return mean, standard deviation, least and largest of values, with four digits; a single value alone."""
    mean = f"**{statistics.mean(values):.4f}**"
    if len(values) == 1:
        return mean
    return f"{mean} \u00b1 {statistics.stdev(values):.4f} ({min(values):.4f} to {max(values):.4f})"


def _ranges(seeds: list[int]) -> str:
    """Return seeds in ascending order as text, such as `0, 10-14`."""
    found: list[list[int]] = []
    for seed in seeds:
        if found and seed == found[-1][-1] + 1:
            found[-1].append(seed)
        else:
            found.append([seed])
    return ", ".join(str(own[0]) if len(own) == 1 else f"{own[0]}-{own[-1]}" for own in found)


def _line(cells) -> str:
    return f"| {' | '.join(cells)} |"
