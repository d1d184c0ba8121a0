"""Comparison of finished runs: differences of specs and predictions, and warnings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from core.report.baselines import p_value
from core.report.figures import NONE
from core.report.runs import Run
from core.spec.experiment import Experiment
from core.statistics import mcnemar

MOST_TEXTS = 20
"""Maximum number of texts with different predictions shown per pair."""
ABSENT = object()
"""Marks a field that a spec lacks."""


def order(runs: list[Run]) -> list[Run]:
    """Sort by test accuracy, then dev accuracy, highest first."""
    return sorted(runs, key=lambda run: (-run.figure("test.accuracy"), -run.figure("dev.accuracy"), run.label))


def differences(experiments: Sequence[Experiment]) -> dict[str, list[str]]:
    """Return the spec fields that differ, by dotted path, with each spec's value as text."""
    specs = [_flat(own.model_dump(mode="json")) for own in experiments]
    rows = {path: [spec.get(path, ABSENT) for spec in specs] for path in dict.fromkeys(chain(*specs))}
    # By repr, since True == 1.
    return {path: list(map(_text, own)) for path, own in rows.items() if len(set(map(repr, own))) > 1}


def _text(value: object) -> str:
    if value is ABSENT:
        return "not in this spec"
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True)
class Disagreement:
    """A text with different predictions in two runs."""

    name: str
    label: str
    predictions: tuple[tuple[str, float | None], ...]
    """Per run, the prediction and its probability, None for a sequence of tags or tokens, or a set of labels."""


@dataclass(frozen=True)
class Pair:
    """A comparison of two runs' predictions; `incomparable` is the reason if they cannot be compared."""

    first: Run
    second: Run
    incomparable: str = ""
    documents: int = 0
    differ: int = 0
    only_first_right: int = 0
    only_second_right: int = 0
    largest_difference: float | None = 0.0
    """Largest difference of any probability, over all texts and classes; None without probabilities."""
    shown: tuple[Disagreement, ...] = ()
    """At most MOST_TEXTS, sorted by the lower of the two probabilities, highest first."""

    @property
    def runs(self) -> tuple[Run, Run]:
        return self.first, self.second

    @property
    def names(self) -> str:
        return f"{self.first.label} and {self.second.label}"

    @property
    def agree(self) -> int:
        return self.documents - self.differ

    @property
    def chance(self) -> float:
        """Two-sided p-value of McNemar's exact test."""
        return mcnemar(self.only_first_right, self.only_second_right)


def agreement(pairs: Sequence[Pair], names: Sequence[str]) -> dict[str, str]:
    """Return a table row, by column: the agreement of models called `names`, summed over pairs."""
    known = [pair.largest_difference for pair in pairs if pair.largest_difference is not None]
    agree, total = sum(pair.agree for pair in pairs), sum(pair.documents for pair in pairs)
    return {
        "agree": f"{agree:,}",
        "differ": f"{total - agree:,}",
        "share": f"{agree / total:.1%}",
        f"only {names[0]} right": f"{sum(pair.only_first_right for pair in pairs):,}",
        f"only {names[1]} right": f"{sum(pair.only_second_right for pair in pairs):,}",
        "largest difference": f"{max(known):.2g}" if known else NONE,
    }


def agreement_of(pair: Pair, names: Sequence[str]) -> dict[str, str]:
    """Return the table row of one pair, with the p-value of McNemar's test."""
    return agreement([pair], names) | {"McNemar p": p_value(pair.chance)}


def compare(first: Run, second: Run) -> Pair:
    """Compare the predictions of two runs, if they cover the same texts."""
    one, other = first.predictions, second.predictions
    if one is None or other is None:
        missing = (first if one is None else second).label
        return Pair(first, second, f"{missing} has no predictions.csv that can be read")
    if first.experiment.task != second.experiment.task:
        return Pair(first, second, f"different tasks: {first.experiment.task} and {second.experiment.task}")
    if first.execution["data"]["fingerprint"] != second.execution["data"]["fingerprint"]:
        return Pair(first, second, "trained and tested on different data")
    row_of = {name: row for row, name in enumerate(other.names)}
    common = [name for name in one.names if name in row_of]
    if len(common) != len(one.names) or len(common) != len(other.names):
        return Pair(first, second, f"tested on different texts ({len(common):,} in common)")
    places = np.array([row_of[name] for name in one.names])
    if one.classes != other.classes or one.labels != [other.labels[place] for place in places]:
        return Pair(first, second, "the files have different true labels")
    predicted = [other.predicted[place] for place in places]
    probabilities = other.probabilities[places]
    right = [(a == label, b == label) for a, b, label in zip(one.predicted, predicted, one.labels, strict=True)]
    rows = [row for row, (a, b) in enumerate(zip(one.predicted, predicted, strict=True)) if a != b]
    found = []
    for row in rows:
        both = (one.predicted[row], one.probabilities[row]), (predicted[row], probabilities[row])
        listed = bool(one.classes) and not one.several
        sure = tuple((name, float(own[one.classes.index(name)]) if listed else None) for name, own in both)
        found.append(Disagreement(one.names[row], one.labels[row], sure))
    found.sort(key=lambda own: (-min(probability or 0.0 for _, probability in own.predictions), own.name))
    return Pair(
        first,
        second,
        documents=len(one.names),
        differ=len(rows),
        only_first_right=right.count((True, False)),
        only_second_right=right.count((False, True)),
        largest_difference=float(np.abs(one.probabilities - probabilities).max()) if one.classes else None,
        shown=tuple(found[:MOST_TEXTS]),
    )


def comparable(runs: list[Run]) -> bool:
    """Return whether all runs have the same data, according to their records."""
    measured = ((run.execution["data"]["fingerprint"], run.figure("test.documents")) for run in runs)
    return len({(run.experiment.task, *own) for run, own in zip(runs, measured, strict=True)}) == 1


def warnings_of(runs: list[Run]) -> list[str]:
    """Return warnings about what limits the comparison."""
    found = [f"{run.label}: {problem}." for run in runs for problem in run.problems]
    tasks = list(dict.fromkeys(run.experiment.task for run in runs))
    if len(tasks) > 1:
        found.append(f"The runs have different tasks ({', '.join(tasks)}): their figures are not comparable.")
    elif not comparable(runs):
        found.append("The runs were trained or tested on different data: their figures are not comparable.")
    for run in runs:
        if run.resumed:
            found.append(f"{run.label} was {run.resumed}: its peak memory covers only the last segment.")
    together = [run for run in runs if run.models_together > 1]
    if together:
        names = ", ".join(f"{run.label} (one of {run.models_together})" for run in together)
        found.append(
            f"Trained together with other models: {names}. Peak memory covers all of these models; tokens per second"
            " count the tokens of one model."
        )
    return found


def _flat(tree: dict, prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in tree.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found
