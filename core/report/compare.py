"""What a comparison of finished runs says: read from their folders, before anything is drawn or written."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from core.errors import UserError
from core.models.model import parameter_table
from core.spec.experiment import Experiment
from core.train.run_folder import RunFolder

REQUIRED = (
    ("test.documents", "test.accuracy", "test.macro_f1", "test.loss", "dev.accuracy", "dev.loss", "dev.step")
    + ("training.steps", "training.seconds", "training.tokens_per_second")
)  # fmt: skip
"""Figures of `result.json` without which there is nothing to compare."""
MOST_TEXTS = 20
"""Texts shown of a pair, of those that its two runs answer differently."""
ABSENT = object()
"""In place of a field that a spec does not have."""


@dataclass(frozen=True)
class Predictions:
    """`predictions.csv`: names, labels and predicted classes of N texts, and probabilities [N, C] of `classes`."""

    names: list[str]
    labels: list[str]
    predicted: list[str]
    probabilities: np.ndarray
    classes: list[str]

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row number by name."""
        return {name: row for row, name in enumerate(self.names)}

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Raises UserError where the file is missing, or is not what a run writes."""
        try:
            with path.open(encoding="utf-8", newline="") as stream:
                header, *rows = list(csv.reader(stream))
            if header[:3] != ["id", "label", "predicted"] or len({row[0] for row in rows}) != len(rows) or not rows:
                raise ValueError
            names, labels, predicted, *shares = zip(*rows, strict=True)
            probabilities = np.array(shares, dtype=np.float64).T
            if probabilities.shape != (len(rows), len(header) - 3):
                raise ValueError
        except FileNotFoundError:
            raise UserError(f"{path.name} is missing") from None
        except OSError as error:
            raise UserError(f"{path.name} cannot be read ({error.strerror})") from None
        except (ValueError, csv.Error):
            raise UserError(f"{path.name} is damaged") from None
        classes = [name.removeprefix("p_") for name in header[3:]]
        return cls(list(names), list(labels), list(predicted), probabilities, classes)


@dataclass(frozen=True)
class Run:
    """A finished run, and under `problems` what could not be read of it, a line each."""

    label: str
    path: Path
    experiment: Experiment
    execution: dict
    result: dict
    metrics: list[dict]
    predictions: Predictions | None
    problems: list[str]

    def figure(self, name: str) -> float:
        """A figure of the result by its dotted name."""
        return _at(self.result, name)

    @property
    def framework(self) -> str:
        """With its version; all of them in their order, where the run changed framework on the way."""
        named = [f"{own['backend']} {own['versions'][own['backend']]}" for own in self.execution["segments"]]
        return " \u2192 ".join(name for place, name in enumerate(named) if named[place - 1 : place] != [name])

    @property
    def implementation(self) -> str:
        names = [own["implementation"] for own in self.execution["segments"]]
        return " \u2192 ".join(name for place, name in enumerate(names) if names[place - 1 : place] != [name])

    @property
    def size(self) -> str:
        """The encoder in two words."""
        return self.experiment.model.encoder.label

    @property
    def parameters(self) -> int:
        return sum(math.prod(row.shape) for row in parameter_table(self.experiment.model))

    @property
    def seconds_per_epoch(self) -> float | None:
        """None for models trained side by side, and runs that never ended an epoch."""
        epochs = self.result["training"].get("epoch_seconds") or []
        return sum(epochs) / len(epochs) if epochs else None

    @property
    def side_by_side(self) -> int:
        """How many models were trained together with this one, itself included."""
        return self.execution.get("side_by_side", 1)

    def curve(self, split: str, quantity: str) -> tuple[np.ndarray, np.ndarray]:
        """Epochs and `loss` (mean per text) or `accuracy` of every line of `split`; NaN where it diverged."""
        lines = [line for line in self.metrics if line.get("split") == split]
        values = np.array([np.nan if line[quantity] is None else line[quantity] for line in lines], dtype=np.float64)
        if quantity == "loss" and split == "train" and self.experiment.training.loss_reduction == "sum":
            # A line is of one step, or holds the mean of several steps' sums.
            values = values / np.array([line["counted"] / line.get("steps", 1) for line in lines])
        return np.array([line["epoch"] for line in lines], dtype=np.float64), values


def read_run(path: Path, label: str) -> Run:
    """A finished run. What is not needed to compare it may be missing, and is said under `problems`.

    Raises UserError where the folder is no run, the run is not finished, or its spec or result is damaged.
    """
    folder = RunFolder.open(path)
    if not (path / "experiment.json").is_file():
        inner = sorted(str(own.parent) for pattern in ("*", "*/*") for own in path.glob(f"{pattern}/experiment.json"))
        more = f"; it holds runs: name them, as {inner[0]}" if inner else ": experiment.json is missing"
        raise UserError(f"{path}: not the folder of one run{more}")
    experiment, execution = folder.read_record()
    if not (path / "result.json").is_file():
        go_on = f"python -m tasks.{experiment.task} `resume` {path}"
        raise UserError(f"{path}: this run is not finished (result.json is missing); go on with: {go_on}")
    result = folder.read_result()
    for name in REQUIRED:
        if not isinstance(_at(result, name), int | float):
            raise UserError(f"{path / 'result.json'}: {name} is missing: the file is damaged")
    problems, metrics, predictions = [], [], None
    try:
        metrics = _sound(folder.read_metrics())
        if not metrics:
            problems.append("metrics.jsonl is empty or damaged: there are no curves")
    except (UserError, UnicodeDecodeError, OSError):
        problems.append("metrics.jsonl is missing or cannot be read: there are no curves")
    try:
        predictions = Predictions.read(path / "predictions.csv")
    except UserError as error:
        problems.append(f"{error}: its predictions are not compared")
    return Run(label, path, experiment, execution, result, metrics, predictions, problems)


def order(runs: list[Run]) -> list[Run]:
    """The best on test first, then on dev."""
    return sorted(runs, key=lambda run: (-run.figure("test.accuracy"), -run.figure("dev.accuracy"), run.label))


def differences(runs: list[Run]) -> dict[str, list[object]]:
    """The fields of the specs that are not the same in all runs, by dotted path, with each run's value or ABSENT."""
    specs = [_flat(run.experiment.model_dump(mode="json")) for run in runs]
    paths = dict.fromkeys(path for spec in specs for path in spec)
    rows = {path: [spec.get(path, ABSENT) for spec in specs] for path in paths}
    # Not by ==, for which True is 1.
    return {path: values for path, values in rows.items() if len({repr(value) for value in values}) > 1}


@dataclass(frozen=True)
class Disagreement:
    """A text that two runs answer differently: its name, its label, and each run's answer and probability of it."""

    name: str
    label: str
    answers: tuple[str, str]
    probabilities: tuple[float, float]


@dataclass(frozen=True)
class Pair:
    """Two runs' predictions side by side. With an `obstacle` they were not compared, and it says why."""

    first: Run
    second: Run
    obstacle: str = ""
    documents: int = 0
    differ: int = 0
    only_first_right: int = 0
    only_second_right: int = 0
    largest_difference: float = 0.0
    """Of the probability of any class of any text."""
    shown: tuple[Disagreement, ...] = ()
    """At most MOST_TEXTS, those first where the less sure of the two is surest."""

    @property
    def agree(self) -> int:
        return self.documents - self.differ

    @property
    def chance(self) -> float:
        """Probability that as many texts, or more, fall to one side by chance (McNemar's exact test, two-sided)."""
        total = self.only_first_right + self.only_second_right
        low = min(self.only_first_right, self.only_second_right)
        return min(1.0, 2 * sum(math.exp(_log_choose(total, k) - total * math.log(2)) for k in range(low + 1)))


def compare(first: Run, second: Run) -> Pair:
    """The predictions of two runs, if they are about the same texts."""
    one, other = first.predictions, second.predictions
    for run in (first, second):
        if run.predictions is None:
            return Pair(first, second, f"{run.label} has no predictions.csv that can be read")
    if first.experiment.task != second.experiment.task:
        return Pair(first, second, f"other tasks: {first.experiment.task} and {second.experiment.task}")
    if first.execution["data"]["fingerprint"] != second.execution["data"]["fingerprint"]:
        return Pair(first, second, "trained and tested on other data")
    common = [name for name in one.names if name in other.rows]
    if len(common) != len(one.names) or len(common) != len(other.names):
        return Pair(first, second, f"tested on other texts ({len(common):,} in common)")
    places = np.array([other.rows[name] for name in one.names])
    if one.classes != other.classes or one.labels != [other.labels[place] for place in places]:
        return Pair(first, second, "the files disagree about the true labels")
    answers = [other.predicted[place] for place in places]
    probabilities = other.probabilities[places]
    right = [(a == label, b == label) for a, b, label in zip(one.predicted, answers, one.labels, strict=True)]
    rows = [row for row, (a, b) in enumerate(zip(one.predicted, answers, strict=True)) if a != b]
    found = []
    for row in rows:
        both = (one.predicted[row], answers[row])
        column = [one.classes.index(answer) if answer in one.classes else 0 for answer in both]
        sure = (float(one.probabilities[row, column[0]]), float(probabilities[row, column[1]]))
        found.append(Disagreement(one.names[row], one.labels[row], both, sure))
    found.sort(key=lambda own: (-min(own.probabilities), own.name))
    return Pair(
        first,
        second,
        documents=len(one.names),
        differ=len(rows),
        only_first_right=right.count((True, False)),
        only_second_right=right.count((False, True)),
        largest_difference=float(np.abs(one.probabilities - probabilities).max()),
        shown=tuple(found[:MOST_TEXTS]),
    )


def comparable(runs: list[Run]) -> bool:
    """Whether all were measured on the same data, as far as their records tell."""
    measured = ((run.execution["data"]["fingerprint"], run.figure("test.documents")) for run in runs)
    return len({(run.experiment.task, *own) for run, own in zip(runs, measured, strict=True)}) == 1


def warnings_of(runs: list[Run]) -> list[str]:
    """What a reader must know before holding one figure against another."""
    found = [f"{run.label}: {problem}." for run in runs for problem in run.problems]
    tasks = list(dict.fromkeys(run.experiment.task for run in runs))
    if len(tasks) > 1:
        found.append(f"The runs are of different tasks ({', '.join(tasks)}): their figures do not compare.")
    elif not comparable(runs):
        found.append("The runs were trained or tested on different data: their figures do not compare directly.")
    for run in runs:
        segments = run.execution["segments"]
        if len(segments) > 1:
            steps = ", ".join(f"{own['backend']} from step {own['from_step']:,}" for own in segments)
            found.append(
                f"{run.label} was stopped and resumed ({steps}): its peak memory is that of the last part alone."
            )
    together = [run for run in runs if run.side_by_side > 1]
    if together:
        names = ", ".join(f"{run.label} (one of {run.side_by_side})" for run in together)
        found.append(
            f"Trained side by side with other models: {names}. Peak memory is that of all of them together, and"
            " tokens per second count one model's while all were trained."
        )
    return found


def _sound(lines: list[dict]) -> list[dict]:
    """Lines up to the first that is not one of a run's."""
    for place, line in enumerate(lines):
        if not isinstance(line, dict) or not {"split", "epoch", "loss", "accuracy"} <= line.keys():
            return lines[:place]
    return lines


def _flat(tree: dict, prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in tree.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _at(tree: object, path: str) -> object:
    for part in path.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _log_choose(total: int, chosen: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)
