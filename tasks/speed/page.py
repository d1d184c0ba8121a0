"""The generated part of docs/speed.md: the tables of one measurement, in Markdown."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from core.errors import UserError
from core.files import write_bytes_atomic, write_text_atomic
from tasks.speed.measure import PASSES
from tasks.speed.results import FORMAT
from tasks.speed.table import percent, three_digits

RECORD, PLOT = "speed.json", "speed.png"
"""Files of a measurement."""
BEGIN = "<!-- tables of the speed benchmark, written by its option --write -->"
END = "<!-- end of the tables -->"
MARK = "*"
"""Mark of a row of which most rounds were disturbed."""
FRAMEWORKS = {"torch": "PyTorch", "paddle": "Paddle"}
RIVALS = {
    "torch": {
        "torch builtin": "exact",
        "torch packed": "packed",
        "torch padded": "padded, a different result",
        "loop": "loop",
    },
    "paddle": {"Paddle best": "the best of its settings", "Paddle installed": "as installed", "loop": "loop"},
}
"""Columns of the speedups of each framework's `fast`."""

Line = dict[str, str]


def check(path: Path) -> None:
    """Raise UserError for a page that cannot be read or lacks a marker."""
    try:
        _replaced(path.read_text(encoding="utf-8"), "", path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}): give a Markdown page") from None


def read_record(folder: Path) -> dict:
    """Return the record of a measurement. Raises UserError if the folder has none, or one of an older version."""
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}): give the folder of a measurement") from None
    if not isinstance(record, dict) or not {"format", "rows", "ratios", "steps", "rounds", "machine"} <= record.keys():
        raise UserError(f"{path}: not the record of a measurement: give the folder of one")
    if record["format"] != FORMAT:
        raise UserError(f"{path}: got format {record['format']}, expected {FORMAT}: measure again")
    return record


def write(folder: Path, path: Path) -> None:
    """Replace the generated part of a page by the tables of a measurement, and the plot next to the page.

    Raises UserError like `check` and `read_record`.
    """
    record = read_record(folder)
    write_text_atomic(path, _replaced(path.read_text(encoding="utf-8"), generated(record), path))
    if (folder / PLOT).is_file():
        write_bytes_atomic(path.with_suffix(".png"), (folder / PLOT).read_bytes())


def _replaced(text: str, content: str, path: Path) -> str:
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{path}: a marker is missing: add the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{content}\n{END}{after}"


def generated(record: dict) -> str:
    """Return how the measurement was made, and all its tables."""
    parts = [_about(record)]
    parts += [_times(record, training) for training in (True, False)]
    for backend in FRAMEWORKS:
        parts += [_speedups(record, backend, training) for training in (True, False)]
    parts += [_steps(record, recipe) for recipe in dict.fromkeys(row["recipe"] for row in record["steps"])]
    return "\n".join(part for part in parts if part)


def _about(record: dict) -> str:
    own, versions = record["machine"], record["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "cuda")
    disturbed = [one["others"] for one in record["rounds"] if one["disturbed"]]
    started = f"Measured on {record['when'][:10]} in {record['seconds'] / 60:.0f} minutes: {own['processor']}"
    started += f", {record['threads']} threads, {record['dtype']}, kernels {record['kernels'] or 'none'}; {named}."
    load = f"Other processes disturbed {len(disturbed)} of {len(record['rounds'])} rounds"
    load += f", by up to {max(disturbed):.1f} cores." if disturbed else "."
    load += f" {MARK} marks a case of which they disturbed most rounds." if disturbed else ""
    peak = record["peak"]["flops_per_second"]
    product = ""
    if peak is not None:
        low, median, high = (f"{peak[name] / 1e9:.0f}" for name in ("low", "median", "high"))
        product = f" The matrix product reached {median} GFLOP/s (quartiles {low} to {high})."
    return f"{started}{product} {load}\n"


def _marks(record: dict) -> dict[str, str]:
    """Return the mark of every case that was timed."""
    found = defaultdict(list)
    for one in record["rounds"]:
        found[one["of"]].append(one["disturbed"])
    return {case: MARK if 2 * sum(own) > len(own) else "" for case, own in found.items()}


def _lines(record: dict, training: bool) -> dict[tuple[str, str], dict[str, str]]:
    """Return an empty line per cell and shape that were timed, by their keys in the record."""
    found = {(row["cell"], row["shape"]) for row in record["rows"] if row["training"] == training}
    cells, shapes = (list(dict.fromkeys(row[key] for row in record["rows"])) for key in ("cell", "shape"))
    return {key: {} for key in sorted(found, key=lambda key: (cells.index(key[0]), shapes.index(key[1])))}


def _shown(record: dict, training: bool, lines: dict[tuple[str, str], dict[str, str]]) -> dict[tuple[str, ...], Line]:
    """Return the lines that have a value, with their keys as a table shows them."""
    marks = _marks(record)
    return {
        (cell.upper(), f"`{shape}`{marks.get(f'{shape}, {cell}, {PASSES[training]}', '')}"): line
        for (cell, shape), line in lines.items()
        if line
    }


def _times(record: dict, training: bool) -> str:
    """Return the milliseconds of `fast`, and its share of the machine's matrix product."""
    lines = _lines(record, training)
    for row in record["rows"]:
        if (row["training"], row["implementation"]) == (training, "fast"):
            line, name = lines[row["cell"], row["shape"]], FRAMEWORKS[row["backend"]]
            line[f"{name}, ms"] = three_digits(1e3 * row["seconds"]["median"])
            line[f"{name}, share of the product"] = f"{row['share_of_peak']['median']:.0%}"
    return _table(f"`fast`, {PASSES[training]}:", ("cell", "shape"), _shown(record, training, lines))


def _speedups(record: dict, backend: str, training: bool) -> str:
    """Return how many times as fast a framework's `fast` is as its other layers; values below 1 are bold."""
    lines, columns = _lines(record, training), RIVALS[backend]
    for one in record["ratios"]:
        if (one["fast_in"], one["training"]) == (backend, training) and one["against"] in columns:
            shown = three_digits(one["ratio"]["median"])
            bold = "**" if one["ratio"]["median"] < 1 else ""
            lines[one["cell"], one["shape"]][columns[one["against"]]] = f"{bold}{shown}{bold}"
    title = f"Speedup of `fast` in {FRAMEWORKS[backend]}, {PASSES[training]}, over its other layers:"
    return _table(title, ("cell", "shape"), _shown(record, training, lines), columns.values())


def _steps(record: dict, recipe: str) -> str:
    """Return the milliseconds of the parts of a training step, and the speed of all of it."""
    lines: dict[tuple[str, ...], Line] = defaultdict(dict)
    for row in record["steps"]:
        if row["recipe"] == recipe:
            name = f"{FRAMEWORKS[row['backend']]} `{row['implementation']}`"
            for part, found in row["parts"].items():
                lines[part,][name] = three_digits(1e3 * found["seconds"]["median"])
            lines["**whole step**",][name] = f"**{three_digits(1e3 * row['seconds']['median'])}**"
            lines["tokens/s",][name] = f"{row['tokens_per_second']['median']:,.0f}"
            lines["GFLOP/s",][name] = three_digits(row["flops_per_second"]["median"] / 1e9)
            lines["share of the product",][name] = percent(row["share_of_peak"]["median"])
    mark = _marks(record).get(f"steps, {recipe}", "")
    return _table(f"A training step of the recipe `{recipe}`{mark}, median ms:", ("part",), lines)


def _table(
    title: str, left: Iterable[str], lines: dict[tuple[str, ...], Line], order: Iterable[str] | None = None
) -> str:
    """Return a table whose lines begin with their keys; "" without lines. Missing cells are dashes.

    `order` is that of the columns, None for the order in which the lines have them.
    """
    if not lines:
        return ""
    there = dict.fromkeys(name for own in lines.values() for name in own)
    columns = [name for name in (there if order is None else order) if name in there]
    rows = [(*left, *columns), tuple("---" for _ in (*left, *columns))]
    rows += [(*names, *(own.get(column, "-") for column in columns)) for names, own in lines.items()]
    return "\n".join([f"{title}\n", *(f"| {' | '.join(row)} |" for row in rows), ""])
