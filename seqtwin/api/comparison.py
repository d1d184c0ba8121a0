"""Comparison of finished runs, as data and as a page."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from core.errors import UserError
from core.report.html import render
from seqtwin.api.calls import called
from seqtwin.api.run import Run
from tasks.cli.paths import cache_folder
from tasks.run import report

MIN_RUNS = 2
HEIGHT = 720
"""Height of a page in a notebook, in pixels."""


class Comparison:
    """Finished runs, compared: the one with the highest test accuracy first.

    `runs` are the labels of the runs. `rows` has a dictionary per run: its figures as text, by column.

    `pairs` has a dictionary for every two runs: `first` and `second`, their labels; `documents`, the number of test
    texts; `differ`, the number of different predictions; `only_first_right` and `only_second_right`; and `p_value`, by
    McNemar's exact test. For two runs on different texts it has `incomparable`, the reason, instead.

    `page` is an HTML page with curves, differing fields and texts, which a notebook shows.
    """

    def __init__(self, found: report.Comparison) -> None:
        self._found = found
        self.page: str = found.page
        self.runs: list[str] = [run.label for run in found.runs]
        self.rows: list[dict[str, str]] = found.rows()
        self.pairs: list[dict[str, object]] = [_pair(pair) for pair in found.pairs]

    def save(self, path: str) -> None:
        """Write the page. Raises UserError if the file exists."""
        with called():
            report.check_page(Path(path))
            report.write_page(Path(path), self.page)

    def __repr__(self) -> str:
        return "\n".join([*self._found.table(), *self._found.agreement()])

    def _repr_html_(self) -> str:
        return render("frame.html", page=self.page, title="comparison of runs", height=HEIGHT)


def compare(
    runs: Iterable[str | os.PathLike | Run], labels: Iterable[str] | None = None, cache_dir: str | None = None
) -> Comparison:
    """Compare two or more finished runs, given as folders or as `Run`.

    `labels` name them; by default they have the names of their folders. `cache_dir` is the folder of downloads and
    tokenized texts. Raises UserError for fewer than two runs, and for one that is not finished.
    """
    with called():
        paths = [] if isinstance(runs, str) else [own.path if isinstance(own, Run) else Path(own) for own in runs]
        if len(paths) < MIN_RUNS:
            got = "a single string" if isinstance(runs, str) else f"{len(paths)} runs"
            raise UserError(f"compare: got {got}, expected a list of at least {MIN_RUNS} runs")
        named = report.run_labels(paths, None if labels is None else list(labels))
        return Comparison(report.Comparison.of(paths, named, cache_folder(cache_dir)))


def _pair(pair: report.Pair) -> dict[str, object]:
    names: dict[str, object] = {"first": pair.first.label, "second": pair.second.label}
    if pair.incomparable:
        return {**names, "incomparable": pair.incomparable}
    right = {"only_first_right": pair.only_first_right, "only_second_right": pair.only_second_right}
    return {**names, "documents": pair.documents, "differ": pair.differ, **right, "p_value": pair.chance}
