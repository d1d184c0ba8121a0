"""Write the page that compares finished runs."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Comparison:
    """Finished runs, compared: the best first."""

    runs: list[Run]
    pairs: list[Pair]
    page: str
    """The page, as HTML."""

    @classmethod
    def of(cls, paths: list[Path], labels: list[str], cache: Path) -> Comparison:
        """Read the runs, and make the page. Raises UserError for a folder that holds no finished run."""
        runs = order([read_run(path, label) for path, label in zip(paths, labels, strict=True)])
        pairs = pairs_of(runs)
        texts, no_texts = _texts(pairs, cache)
        return cls(runs, pairs, page(runs, pairs, texts, no_texts))

    def rows(self) -> list[dict[str, str]]:
        """Return the figures of every run, by column, as the page and the terminal show them."""
        scores = scores_of(self.runs)
        return [{"run": run.label, **run_figures(run, scores)} for run in self.runs]

    @property
    def columns(self) -> list[str]:
        """The columns of `rows` that fit a terminal."""
        scores = [name for name in scores_of(self.runs) if name != "macro F1"]
        return ["run", *COLUMNS[:4], *scores, *COLUMNS[4:]]

    def table(self) -> list[str]:
        """Return the lines of the table of runs; the first one names the columns."""
        lines = [dict(zip(self.columns, self.columns, strict=True)), *self.rows()]
        widths = {name: max(len(line[name]) for line in lines) for name in self.columns}
        return ["  ".join(line[name].ljust(width) for name, width in widths.items()).rstrip() for line in lines]

    def agreement(self) -> list[str]:
        """Return a line for every two runs: how many of their predictions agree, or why this is unknown."""
        return [
            f"{pair.names}: predictions not compared: {pair.incomparable}"
            if pair.incomparable
            else f"{pair.names}: {pair.agree:,} of {pair.documents:,} predictions agree"
            for pair in self.pairs
        ]


def write_report(paths: list[Path], labels: list[str], out: Path, cache: Path) -> None:
    """Read the runs, write the page, and print a short table. Raises UserError before anything is written."""
    found = Comparison.of(paths, labels, cache)
    write_page(out, found.page)
    for line in warnings_of(found.runs):
        note(line)
    _show(found)
    fact("report", str(out))


def write_page(out: Path, content: str) -> None:
    """Write a page and create its folder."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out.parent}: cannot be created ({error.strerror}); give another --out") from None
    # A folder name may contain bytes that are not valid text.
    write_bytes_atomic(out, content.encode("utf-8", "replace"))


def run_labels(paths: list[Path], given: list[str] | None) -> list[str]:
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


def _show(found: Comparison) -> None:
    header, *rows = found.table()
    console.print(f"[bold]{header}[/]")
    lines = found.agreement()
    for line in [*rows, *lines[:MAX_PAIRS]]:
        console.print(literal(line))
    if len(lines) > MAX_PAIRS:
        console.print(f"... and {len(lines) - MAX_PAIRS} more pairs in the report")
