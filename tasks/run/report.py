"""Write the page that compares finished runs."""

from __future__ import annotations

from pathlib import Path

from core.data.sources.lookup import read_texts, shorten
from core.errors import UserError
from core.files import write_bytes_atomic
from core.report.compare import Pair, order, warnings_of
from core.report.page import page, pairs_of, run_figures, scores_of
from core.report.runs import Run, read_run
from tasks.cli.console import DataProgress, console, fact
from tasks.cli.flags import name_flags
from tasks.cli.terminal import literal, note

COLUMNS = ("framework", "model", "test accuracy", "dev accuracy", "s per epoch", "tokens/s", "peak memory")
"""Columns of the table of runs that fit a terminal."""


MAX_PAIRS = 6
"""Maximum number of pairs to print; the report has all of them."""


def check_page(out: Path) -> None:
    """Raise UserError if the page exists, since no file is overwritten."""
    if out.exists():
        raise UserError(f"{out}: exists; give another --out, or remove it")


def write_report(paths: list[Path], labels: list[str], out: Path, cache: Path) -> None:
    """Read the runs, write the page, and print a short table. Raises UserError before anything is written."""
    runs = order([read_run(path, label) for path, label in zip(paths, labels, strict=True)])
    pairs = pairs_of(runs)
    texts, no_texts = _texts(pairs, cache)
    write_page(out, page(runs, pairs, texts, no_texts))
    for line in warnings_of(runs):
        note(line)
    _show(runs, pairs)
    fact("report", str(out))


def write_page(out: Path, content: str) -> None:
    """Write a page and create its folder."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out.parent}: cannot be created ({error.strerror}); give another --out") from None
    # A folder name may contain bytes that are not valid text.
    write_bytes_atomic(out, content.encode("utf-8", "replace"))


def _labels(paths: list[Path], given: list[str] | None) -> list[str]:
    """Return a label per run. Raises UserError for fewer than two runs, duplicates or invalid labels."""
    if len(paths) < 2:
        raise UserError(f"{paths[0]}: need at least two runs, got one")
    places: dict[Path, Path] = {}
    for path in paths:
        if (same := places.setdefault(path.resolve(), path)) is not path:
            raise UserError(f"{path}: duplicate run (same as {same}): give each run once")
    if given is None:
        return _folder_names([path.resolve() for path in paths])
    if len(given) != len(paths):
        raise UserError(f"--labels: expected {len(paths)} labels, got {len(given)}: give one per run")
    if len(set(given)) < len(given) or not all(name.strip() for name in given):
        raise UserError(f"--labels {' '.join(given)}: labels must be unique and not blank")
    return given


def _folder_names(paths: list[Path]) -> list[str]:
    """Return the shortest unique suffix of each path."""

    def name(path: Path) -> str:
        for count in range(1, len(path.parts)):
            if not any(other.parts[-count:] == path.parts[-count:] for other in paths if other is not path):
                return "/".join(path.parts[-count:])
        return str(path)

    return [name(path) for path in paths]


def _texts(pairs: list[Pair], cache: Path) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Return the texts that the page shows, or why they are missing, by fingerprint of the data."""
    wanted: dict[str, set[str]] = {}
    owners: dict[str, Run] = {}
    for pair in pairs:
        if pair.shown:
            fingerprint = pair.first.execution["data"]["fingerprint"]
            owners[fingerprint] = pair.first
            wanted.setdefault(fingerprint, set()).update(own.name for own in pair.shown)
    texts, reasons = {}, {}
    with DataProgress() as progress:
        for fingerprint, names in wanted.items():
            try:
                found = read_texts(owners[fingerprint].experiment, fingerprint, names, cache, progress)
                texts[fingerprint] = {name: shorten(text) for name, text in found.items()}
            except UserError as error:
                reasons[fingerprint] = name_flags(str(error))
    return texts, reasons


def _show(runs: list[Run], pairs: list[Pair]) -> None:
    scores = scores_of(runs)
    columns = [*COLUMNS[:4], *(name for name in scores if name != "macro F1"), *COLUMNS[4:]]
    rows = [{"run": run.label, **{name: run_figures(run, scores)[name] for name in columns}} for run in runs]
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    console.print("[bold]" + "  ".join(name.ljust(width) for name, width in widths.items()).rstrip() + "[/]")
    for row in rows:
        console.print(literal("  ".join(row[name].ljust(width) for name, width in widths.items()).rstrip()))
    for pair in pairs[:MAX_PAIRS]:
        names = f"{pair.first.label} and {pair.second.label}"
        if pair.incomparable:
            console.print(literal(f"{names}: predictions not compared: {pair.incomparable}"))
        else:
            console.print(literal(f"{names}: {pair.agree:,} of {pair.documents:,} predictions agree"))
    if len(pairs) > MAX_PAIRS:
        console.print(f"... and {len(pairs) - MAX_PAIRS} more pairs in the report")
