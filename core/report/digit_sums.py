"""Page of `tasks.digit_sum --backend both`: each model in two frameworks, aggregated by cell and length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.report.charts import curve_svg, lengths_svg
from core.report.compare import Pair, agreement, agreement_of, compare, differences
from core.report.figures import count, duration, made_with, memory, rows_of
from core.report.runs import Run
from core.report.two_frameworks import two_frameworks_page


@dataclass(frozen=True)
class Group:
    """The models of a cell and a length: one pair of runs per seed, one run in each framework."""

    cell: str
    length: int
    pairs: list[Pair]

    @classmethod
    def of(cls, cell: str, length: int, runs: list[tuple[Run, Run]]) -> Group:
        return cls(cell, length, [compare(first, second) for first, second in runs])

    @property
    def name(self) -> str:
        return f"{self.cell}, length {self.length}"

    def model(self, pair: Pair) -> str:
        return f"{self.name}, seed {pair.first.experiment.training.seed}"

    def runs(self, side: int) -> list[Run]:
        """Return the runs of the first (0) or second (1) framework."""
        return [pair.runs[side] for pair in self.pairs]

    def mean(self, side: int, split: str) -> float:
        """Return the mean accuracy on `dev` or `test`."""
        return float(np.mean([run.figure(f"{split}.accuracy") for run in self.runs(side)]))

    @property
    def compared(self) -> list[Pair]:
        return [pair for pair in self.pairs if not pair.incomparable]


class MeanCurves:
    """The mean curves of several runs, for `curve_svg`."""

    def __init__(self, runs: list[Run]) -> None:
        self.runs = [run for run in runs if run.metrics]
        self.metrics = self.runs[0].metrics if self.runs else []

    def curve(self, split: str, quantity: str) -> tuple[np.ndarray, np.ndarray]:
        """Return epochs and means, as far as every run has values."""
        if not self.runs:
            return np.zeros(0), np.zeros(0)
        curves = [run.curve(split, quantity) for run in self.runs]
        size = min(len(epochs) for epochs, _ in curves)
        return curves[0][0][:size], np.mean([values[:size] for _, values in curves], axis=0)


def digits_page(groups: list[Group], names: Sequence[str], folders: Sequence[Path]) -> str:
    """Return the HTML; `names` and `folders` are those of the two frameworks."""
    cells: dict[str, list[Group]] = {}
    for group in groups:
        cells.setdefault(group.cell, []).append(group)
    pairs = [pair for group in groups for pair in group.pairs]
    varied = differences([pair.first.experiment for pair in pairs])
    return two_frameworks_page(
        "digit_sum",
        names,
        [(pair.first.experiment, pair.second.experiment) for pair in pairs],
        groups[0].model(pairs[0]),
        varied={path: [_each(values)] for path, values in varied.items()},
        lead=_lead(pairs, names, len(cells), len({group.length for group in groups})),
        notes=_notes(pairs, cells),
        seeds=count(len(groups[0].pairs), "seed"),
        accuracy_charts=[_accuracy_chart(own, number) for number, own in enumerate(cells.values())],
        accuracy=[(group.name, _accuracy(group, names)) for group in groups],
        loss_charts=_loss_charts(cells),
        agreement=[(group.name, agreement(group.compared, names)) for group in groups if group.compared],
        models=[(group.model(pair), _single(pair, names)) for group in groups for pair in group.compared],
        time=[(cell, _time(own[0].pairs[0].runs, names)) for cell, own in cells.items()],
        records=rows_of(*(_record([own[0].runs(side)[0] for own in cells.values()], folders[side]) for side in (0, 1))),
    )


def _lead(pairs: list[Pair], names: Sequence[str], cells: int, lengths: int) -> str:
    means = [float(np.mean([p.runs[side].figure("test.accuracy") for p in pairs])) for side in (0, 1)]
    agree, documents = sum(pair.agree for pair in pairs), sum(pair.documents for pair in pairs)
    other = sum(bool(differences([run.experiment for run in pair.runs])) for pair in pairs)
    same = f"{other} with different specs" if other else "each has the same spec in both"
    return (
        f"{count(len(pairs), 'model')} in each framework ({count(cells, 'cell')} x {count(lengths, 'length')} x"
        f" {count(len(pairs) // (cells * lengths), 'seed')}; {same}). Mean test accuracy: {names[0]} {means[0]:.4f},"
        f" {names[1]} {means[1]:.4f}. They agree on {agree:,} of {documents:,} predictions."
    )


def _each(values: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _notes(pairs: list[Pair], cells: dict[str, list[Group]]) -> list[str]:
    found = []
    for pair in pairs:
        found += [f"{run.label}: {problem}." for run in pair.runs for problem in run.problems]
        if pair.incomparable:
            found.append(f"{pair.names}: not compared, {pair.incomparable}.")
    firsts = [(cell, own[0].runs(side)[0]) for cell, own in cells.items() for side in (0, 1)]
    found += [f"{cell} in {run.label} was {run.resumed}." for cell, run in firsts if run.resumed]
    return found


def _by(what: str, names: Sequence[str], values: Iterable[str]) -> dict[str, str]:
    """Return table cells, one column per framework."""
    return {f"{what}, {name}": value for name, value in zip(names, values, strict=True)}


def _accuracy(group: Group, names: Sequence[str]) -> dict[str, str]:
    test, dev = ([group.mean(side, split) for side in (0, 1)] for split in ("test", "dev"))
    cells = _by("test", names, map("{:.4f}".format, test)) | _by("dev", names, map("{:.4f}".format, dev))
    return cells | {"test difference": _signed(test[0] - test[1]), "dev difference": _signed(dev[0] - dev[1])}


def _signed(difference: float) -> str:
    return f"{difference:+.4f}" if abs(difference) >= 0.00005 else "0"


def _accuracy_chart(groups: list[Group], number: int) -> tuple[str, str]:
    """Return caption and plot of a cell's accuracy over length."""
    groups = sorted(groups, key=lambda group: group.length)
    series = [{split: [group.mean(side, split) for group in groups] for split in ("test", "dev")} for side in (0, 1)]
    svg = lengths_svg(series, [group.length for group in groups], f"lengths{number}")
    return f"{groups[0].cell}: accuracy", svg


def _loss_charts(cells: dict[str, list[Group]]) -> dict[str, list[tuple[str, str]]]:
    """Return captions and plots by cell, for the lengths that have curves."""
    found: dict[str, list[tuple[str, str]]] = {}
    for number, (cell, groups) in enumerate(cells.items()):
        for group in groups:
            both = [MeanCurves(group.runs(side)) for side in (0, 1)]
            if any(curves.metrics for curves in both):
                svg = curve_svg(both, "loss", f"loss{number}-{group.length}")
                found.setdefault(cell, []).append((f"{group.name}: loss", svg))
    return found


def _single(pair: Pair, names: Sequence[str]) -> dict[str, str]:
    accuracies = (f"{run.figure('test.accuracy'):.4f}" for run in pair.runs)
    return _by("test", names, accuracies) | agreement_of(pair, names)


def _time(runs: Sequence[Run], names: Sequence[str]) -> dict[str, str]:
    """Return time and memory of a cell, from the records of its first model: all train together."""
    cells = {"models": f"{runs[0].models_together}", "steps": f"{runs[0].figure('training.steps'):,}"}
    cells |= _by("training", names, (duration(run.figure("training.seconds")) for run in runs))
    return cells | _by("peak memory", names, (memory(run.result) for run in runs))


def _record(runs: list[Run], folder: Path) -> list[dict[str, object]]:
    """Return the record of one framework, from its first run of each cell."""
    layers = _each([run.implementation for run in runs])
    own = {"started": runs[0].started, "folder": folder}
    return [{"framework": _each([run.framework for run in runs])}, *made_with(runs[0].execution, layers), own]
