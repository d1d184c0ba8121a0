"""The digit sums of two frameworks as one page: every model against the same model of the other, summed up by cell and
length.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from core.report.charts import curve_svg, lengths_svg
from core.report.compare import Pair, Run, compare, differences
from core.report.page import as_text, document, dot, duration, fields, header, notes, versions_and_machine


@dataclass(frozen=True)
class Group:
    """The models of a cell and a length: each seed's pair of runs, one of each framework."""

    cell: str
    length: int
    pairs: list[Pair]

    @classmethod
    def of(cls, cell: str, length: int, runs: list[tuple[Run, Run]]) -> Group:
        return cls(cell, length, [compare(first, second) for first, second in runs])

    @property
    def name(self) -> str:
        return f"{self.cell}, length {self.length}"

    def runs(self, side: int) -> list[Run]:
        """Of the first framework, 0, or of the second, 1."""
        return [(pair.first, pair.second)[side] for pair in self.pairs]

    def mean(self, side: int, part: str) -> float:
        """Accuracy on `dev` or `test`."""
        return float(np.mean([run.figure(f"{part}.accuracy") for run in self.runs(side)]))

    @property
    def compared(self) -> list[Pair]:
        return [pair for pair in self.pairs if not pair.obstacle]


class MeanCurves:
    """The curves of several runs as one, for `curve_svg`."""

    def __init__(self, runs: list[Run]) -> None:
        self.runs = [run for run in runs if run.metrics]
        self.metrics = self.runs[0].metrics if self.runs else []

    def curve(self, split: str, quantity: str) -> tuple[np.ndarray, np.ndarray]:
        """Means where all have a line."""
        if not self.runs:
            return np.zeros(0), np.zeros(0)
        curves = [run.curve(split, quantity) for run in self.runs]
        size = min(len(epochs) for epochs, _ in curves)
        return curves[0][0][:size], np.mean([values[:size] for _, values in curves], axis=0)


def digits_page(groups: list[Group], names: Sequence[str], folders: Sequence[Path]) -> str:
    """The HTML; `names` are those of the two frameworks, whose folders are told."""
    title = f"digit_sum: {names[0]} and {names[1]}"
    sections = (
        header(title, _lead(groups, names)),
        notes(_notes(groups)),
        _accuracy(groups, names),
        _curves(groups, names),
        _predictions(groups, names),
        _time(groups, names),
        _spec(groups),
        _records(groups, names, folders),
    )
    return document(title, sections)


def _by_cell(groups: list[Group]) -> dict[str, list[Group]]:
    found: dict[str, list[Group]] = {}
    for group in groups:
        found.setdefault(group.cell, []).append(group)
    return found


def _pairs(groups: list[Group]) -> list[Pair]:
    return [pair for group in groups for pair in group.pairs]


def _lead(groups: list[Group], names: Sequence[str]) -> str:
    cells, pairs = _by_cell(groups), _pairs(groups)
    means = [float(np.mean([(p.first, p.second)[side].figure("test.accuracy") for p in pairs])) for side in (0, 1)]
    agree, documents = sum(pair.agree for pair in pairs), sum(pair.documents for pair in pairs)
    lengths, seeds = len({group.length for group in groups}), len(groups[0].pairs)
    count = sum(bool(differences([pair.first, pair.second])) for pair in pairs)
    same = f"{count} have another spec in each" if count else "each has the same spec in both"
    return (
        f"{len(pairs)} model{'s' * (len(pairs) != 1)} in each framework ({_count(len(cells), 'cell')} x"
        f" {_count(lengths, 'length')} x {_count(seeds, 'seed')}; {same}). Mean test accuracy: {names[0]}"
        f" {means[0]:.4f}, {names[1]} {means[1]:.4f}. They agree on {agree:,} of {documents:,} predictions."
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _notes(groups: list[Group]) -> list[str]:
    found = []
    for pair in _pairs(groups):
        found += [f"{run.label}: {problem}." for run in (pair.first, pair.second) for problem in run.problems]
        if pair.obstacle:
            found.append(f"{pair.first.label} and {pair.second.label}: not compared, {pair.obstacle}.")
    for cell, own in _by_cell(groups).items():
        for side in (0, 1):
            run = own[0].runs(side)[0]
            segments = run.execution["segments"]
            if len(segments) > 1:
                steps = ", ".join(f"{part['backend']} from step {part['from_step']:,}" for part in segments)
                found.append(f"{cell} in {run.label} was stopped and resumed ({steps}).")
    return found


def _table(name: str, head: str, columns: Sequence[str], rows: list[tuple[str, list[str]]]) -> str:
    """Figures with a name before each row."""
    cells = "".join(f'<th class="n">{escape(column)}</th>' for column in columns)
    body = "\n".join(
        f"<tr><th>{escape(row)}</th>"
        + "".join(
            f'<td class="n" data-name="{escape(column)}">{escape(value)}</td>'
            for column, value in zip(columns, values, strict=True)
        )
        + "</tr>"
        for row, values in rows
    )
    return (
        f'<div class="box"><table class="fold {name}">\n<thead><tr><th>{escape(head)}</th>{cells}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _legend(names: Sequence[str], line: str, dashed: str) -> str:
    legend = "".join(f"<span>{dot(place)}{escape(name)}</span>" for place, name in enumerate(names))
    legend += f'<span class="soft"><span class="line"></span>{line}</span>'
    legend += f'<span class="soft"><span class="line dashed"></span>{dashed}</span>'
    return f'<div class="legend">{legend}</div>'


def _accuracy(groups: list[Group], names: Sequence[str]) -> str:
    one, two = names
    columns = (f"test, {one}", f"test, {two}", f"dev, {one}", f"dev, {two}", "test difference", "dev difference")
    rows = []
    for group in groups:
        test, dev = ([group.mean(side, part) for side in (0, 1)] for part in ("test", "dev"))
        means = [f"{mean:.4f}" for mean in (*test, *dev)]
        rows.append((group.name, [*means, *(_signed(own[0] - own[1]) for own in (test, dev))]))
    figures = []
    for number, (cell, own) in enumerate(_by_cell(groups).items()):
        own = sorted(own, key=lambda group: group.length)
        series = [{part: [group.mean(side, part) for group in own] for part in ("test", "dev")} for side in (0, 1)]
        svg = lengths_svg(series, [group.length for group in own], f"lengths{number}")
        figures.append(f"<figure><figcaption>{escape(cell)}: accuracy</figcaption>{svg}</figure>")
    return (
        f"<section>\n<h2>Accuracy</h2>\n{_legend(names, 'test', 'dev')}\n"
        f'<div class="curves three">{"".join(figures)}</div>\n'
        + _table("accuracy", "cell and length", columns, rows)
        + f'\n<p class="soft small">Means over {_count(len(groups[0].pairs), "seed")}: the best look at dev, and that'
        f" model on test. Differences: {escape(one)} less {escape(two)}.</p>\n</section>"
    )


def _signed(difference: float) -> str:
    return f"{difference:+.4f}" if abs(difference) >= 0.00005 else "0"


def _curves(groups: list[Group], names: Sequence[str]) -> str:
    parts = []
    for number, (cell, own) in enumerate(_by_cell(groups).items()):
        figures = ""
        for group in own:
            both = [MeanCurves(group.runs(side)) for side in (0, 1)]
            if any(curves.metrics for curves in both):
                svg = curve_svg(both, "loss", f"loss{number}-{group.length}")
                figures += f"<figure><figcaption>{escape(group.name)}: loss</figcaption>{svg}</figure>"
        if figures:
            parts.append(f'<h3 class="above">{escape(cell)}</h3>\n<div class="curves three">{figures}</div>')
    if not parts:
        return ""
    inside = "\n".join(parts)
    return (
        f"<section>\n<h2>Training curves, means over seeds</h2>\n{_legend(names, 'train', 'dev')}\n{inside}\n</section>"
    )


def _predictions(groups: list[Group], names: Sequence[str]) -> str:
    right = [f"only {name} right" for name in names]
    summed, each = [], []
    for group in groups:
        compared = group.compared
        if not compared:
            continue
        agree, documents = sum(pair.agree for pair in compared), sum(pair.documents for pair in compared)
        only = sum(pair.only_first_right for pair in compared), sum(pair.only_second_right for pair in compared)
        largest = max(pair.largest_difference for pair in compared)
        values = [f"{agree:,}", f"{documents:,}", f"{agree / documents:.1%}", f"{only[0]:,}", f"{only[1]:,}"]
        summed.append((group.name, [*values, f"{largest:.2g}"]))
        for pair in compared:
            accuracies = [f"{run.figure('test.accuracy'):.4f}" for run in (pair.first, pair.second)]
            values = [f"{pair.agree:,}", f"{pair.only_first_right:,}", f"{pair.only_second_right:,}"]
            chance = f"{pair.chance:.2g}" if pair.chance >= 0.001 else "< 0.001"
            name = f"{group.name}, seed {pair.first.experiment.training.seed}"
            each.append((name, [*accuracies, *values, chance, f"{pair.largest_difference:.2g}"]))
    if not summed:
        return ""
    columns = ("agree", "of", "share", *right, "largest difference")
    own = (*(f"test, {name}" for name in names), "agree", *right, "by chance", "largest difference")
    return (
        "<section>\n<h2>Predictions on the test sequences</h2>\n"
        + _table("agreement", "cell and length", columns, summed)
        + '\n<p class="soft small">Each model against the same model of the other framework, and summed over seeds.'
        " Largest difference: of the probability of any class of any sequence. By chance, of single models: how likely"
        " the sequences that only one has right would fall so unevenly, or more so, if neither were better"
        " (McNemar\u2019s exact test). In float32 rounding grows with the steps, and after thousands of them two runs"
        " have parted, as on two machines; --agreement holds the frameworks against each other in float64.</p>\n"
        f"<details><summary>Every model</summary>{_table('models', 'model', own, each)}</details>\n</section>"
    )


def _time(groups: list[Group], names: Sequence[str]) -> str:
    columns = ["models", "steps", *(f"training, {name}" for name in names), *(f"peak memory, {name}" for name in names)]
    rows = []
    for cell, own in _by_cell(groups).items():
        first = [own[0].runs(side)[0] for side in (0, 1)]
        memory = [run.result.get("peak_memory_mb") for run in first]
        values = [f"{first[0].side_by_side}", f"{first[0].figure('training.steps'):,}"]
        values += [duration(run.figure("training.seconds")) for run in first]
        rows.append((cell, values + ["\u2013" if own is None else f"{own:,} MB" for own in memory]))
    return (
        f"<section>\n<h2>Time and memory</h2>\n{_table('time', 'cell', columns, rows)}\n"
        '<p class="soft small">The models of a cell are trained side by side: time is of all of them together, and of'
        " training alone. Cells follow each other in one process of each framework, and peak memory is its highest so"
        " far.</p>\n</section>"
    )


def _spec(groups: list[Group]) -> str:
    runs = [run for group in groups for run in group.runs(0)]
    varied = {path: list(dict.fromkeys(map(as_text, values))) for path, values in differences(runs).items()}
    parts = [_said(_pairs(groups))]
    if varied:
        rows = "\n".join(
            f"<tr><th>{escape(path)}</th><td>{escape(', '.join(values))}</td></tr>" for path, values in varied.items()
        )
        head = "<thead><tr><th></th><th>over the models of a framework</th></tr></thead>"
        parts.append(f'<div class="box"><table class="fields">\n{head}\n<tbody>\n{rows}\n</tbody>\n</table></div>')
    tree = json.dumps(runs[0].experiment.model_dump(mode="json"), indent=2, ensure_ascii=False)
    name = f"{groups[0].name}, seed {runs[0].experiment.training.seed}"
    summary = f"The whole spec of the first model ({escape(name)})"
    parts.append(f"<details><summary>{summary}</summary><pre>{escape(tree)}</pre></details>")
    return "<section>\n<h2>Spec</h2>\n" + "\n".join(parts) + "\n</section>"


def _said(pairs: list[Pair]) -> str:
    found = dict.fromkeys(path for pair in pairs for path in differences([pair.first, pair.second]))
    if found:
        return f"<p>Between the two frameworks differ: {escape(', '.join(found))}.</p>"
    return "<p>Each model\u2019s spec is the same in both frameworks, field for field.</p>"


def _records(groups: list[Group], names: Sequence[str], folders: Sequence[Path]) -> str:
    cells = [own[0] for own in _by_cell(groups).values()]
    records = []
    for side in (0, 1):
        first = [group.runs(side)[0] for group in cells]
        layers = ", ".join(dict.fromkeys(run.implementation for run in first))
        records.append({**first[0].execution, "implementation": layers})
    rows = {"framework": [_frameworks(cells, side) for side in (0, 1)], **versions_and_machine(records)}
    rows["started"] = [record.get("started", "\u2013").replace("T", " ") for record in records]
    rows["folder"] = [str(folder) for folder in folders]
    return f"<section>\n<h2>Versions, machine</h2>\n{fields(list(names), rows)}\n</section>"


def _frameworks(cells: list[Group], side: int) -> str:
    return ", ".join(dict.fromkeys(group.runs(side)[0].framework for group in cells))
