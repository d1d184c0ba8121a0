"""The results of a cross-validation: figures by fold, their mean and spread, and a prediction for every text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import numpy as np

from core.errors import UserError
from core.models.heads.scores import TextEvaluation, summarize
from core.report.runs import Run
from core.statistics import mcnemar

NUMBERED = re.compile(r"(.*?)(\d+)$", re.DOTALL)
LEAST, TIE = 1e-7, 1e-6
"""Least probability, below what `predictions.csv` resolves, and what decides between equal ones."""


@dataclass(frozen=True)
class OutOfFold:
    """The predictions of all N texts, each by the model of the fold that tested it, in the order of the data.

    `probabilities` [N, C]; `labels` [N], `predicted` [N] and `folds` [N] (from 1) integers.
    """

    names: list[str]
    labels: np.ndarray
    predicted: np.ndarray
    folds: np.ndarray
    probabilities: np.ndarray
    classes: list[str]

    @property
    def evaluation(self) -> TextEvaluation:
        """The metrics of all predictions together."""
        logits = np.log(np.maximum(self.probabilities, LEAST))
        logits[np.arange(len(logits)), self.predicted] += TIE  # the file rounds probabilities, which makes some equal
        return summarize(logits, self.labels)

    def csv(self, column: str, prefix: str) -> str:
        """Return a CSV with a row per text; `column` names the texts, whose names lose the `prefix`."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([column, "fold", "label", "predicted", *(f"p_{name}" for name in self.classes)])
        for row, name in enumerate(self.names):
            cells = [name.removeprefix(prefix), self.folds[row], self.classes[self.labels[row]]]
            shares = (f"{share:.6f}" for share in self.probabilities[row])
            writer.writerow([*cells, self.classes[self.predicted[row]], *shares])
        return stream.getvalue()


def out_of_fold(runs: Sequence[Run]) -> OutOfFold:
    """Join the predictions of the folds. Raises UserError if those of a run are missing, or if two test a text."""
    classes: list[str] = runs[0].execution["classes"]
    names: list[str] = []
    labels, predicted, folds, shares = [], [], [], []
    for fold, run in enumerate(runs, start=1):
        if run.predictions is None:
            raise UserError(f"{run.path}: {'; '.join(run.problems)}: restore the file")
        found = run.predictions
        if found.classes != classes:
            raise UserError(f"{run.path}: predictions.csv has other classes than fold 1: restore the file")
        names += found.names
        labels += [classes.index(label) for label in found.labels]
        predicted += [classes.index(label) for label in found.predicted]
        folds += [fold] * len(found)
        shares.append(found.probabilities)
    if len(set(names)) < len(names):
        raise UserError(f"{runs[0].path.parent}: two folds test the same text: cross-validate again")
    order = sorted(range(len(names)), key=lambda row: _place(names[row]))
    return OutOfFold(
        [names[row] for row in order],
        np.array(labels)[order],
        np.array(predicted)[order],
        np.array(folds)[order],
        np.concatenate(shares)[order],
        classes,
    )


def _place(name: str) -> tuple[str, int]:
    """Return the sort key of a name that ends in the number of a text."""
    found = NUMBERED.match(name)
    return (found[1], int(found[2])) if found else (name, -1)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return mean, sample standard deviation, minimum and maximum of at least two values."""
    return {"mean": mean(values), "std": stdev(values), "min": min(values), "max": max(values)}


def fold_figures(run: Run) -> dict[str, float | int | None]:
    """Return the figures of a fold."""
    steps, total = run.figure("dev.step"), run.figure("training.steps")
    linear = run.figure("baseline.mcnemar") is not None  # else the baseline is the largest class
    epochs = next((own["epoch"] for own in run.metrics if own.get("split") == "dev" and own["step"] == steps), None)
    if run.experiment.model.is_linear:
        epochs = None  # it is fitted in one go
    return {
        "texts": run.figure("test.documents"),
        "accuracy": run.figure("test.accuracy"),
        "macro_f1": run.figure("test.macro_f1"),
        "dev_accuracy": run.figure("dev.accuracy"),
        "best_epoch": epochs,
        "steps": total,
        "seconds": run.figure("training.seconds"),
        "baseline_accuracy": run.figure("baseline.test.accuracy") if linear else None,
        "largest_class_accuracy": run.figure("baseline.largest_class.test.accuracy"),
    }


def cross_validation_figures(runs: Sequence[Run], found: OutOfFold) -> dict:
    """Return the content of `results.json`, without the suspicious labels."""
    folds = [fold_figures(run) for run in runs]
    evaluation, tree = found.evaluation, {}
    for name in ("accuracy", "macro_f1", "dev_accuracy", "baseline_accuracy", "largest_class_accuracy"):
        values = [own[name] for own in folds]
        if all(value is not None for value in values):
            tree[name] = spread([float(value) for value in values if value is not None])
    if "baseline_accuracy" in tree:
        tree["baseline"] = runs[0].figure("baseline.name")
    counts = [[run.figure(f"baseline.mcnemar.{name}") for run in runs] for name in ("only_model", "only_baseline")]
    if all(value is not None for own in counts for value in own):
        only = [sum(own) for own in counts]
        tree["mcnemar"] = {"only_model": only[0], "only_baseline": only[1], "p": mcnemar(*only)}
    own = evaluation.figures()
    return {
        "task": runs[0].experiment.task,
        "texts": len(found.names),
        "classes": found.classes,
        **tree,
        "together": {name: own[name] for name in ("accuracy", "interval", "macro_f1", "confusion", "per_class")},
        "folds": folds,
    }
