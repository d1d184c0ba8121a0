"""Content of the page of one run, which is also its model card; its layout is templates/run.html."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from core.report.baselines import baseline_row
from core.report.charts import curve_svg, rate_svg, reliability_svg
from core.report.figures import NONE, spec_trees
from core.report.html import render
from core.report.run_limits import scope_of
from core.report.run_tables import (
    confusions,
    coverage_rows,
    data_rows,
    figure_rows,
    label_rows,
    length_rows,
    record_rows,
    score_rows,
    settings_rows,
    source_rows,
)
from core.report.runs import Run
from core.strings import shorten
from core.train.misclassified import Misclassified

FEW_CLASSES = 12
"""Tables of more classes are folded."""
MATRIX = 40
"""Maximum number of classes of a confusion matrix: that of more is a list of the most frequent confusions."""
MISTAKES, CONFUSIONS = 12, 20
"""Maximum numbers of misclassifications and of confusions."""

MISTAKE_TITLES = {
    "pooled": "Most confident misclassifications",
    "tokens": "Sentences with the highest loss",
    "decoder": "Most confident wrong outputs",
}


@dataclass(frozen=True)
class WordTable:
    """Words or n-grams that are evidence for each class, with a sentence on how that was computed."""

    how: str
    classes: list[tuple[str, list[tuple[str, str]]]]
    """Classes with their words and the effects of these."""


@dataclass(frozen=True)
class Extras:
    """Parts of a page that the record, the result and the metrics of a run do not hold."""

    mistakes: list[Misclassified] = field(default_factory=list)
    words: list[WordTable] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)
    """What a command does, and the command."""
    lacking: list[str] = field(default_factory=list)
    """What cannot be shown, and why."""


def run_page(run: Run, extras: Extras) -> str:
    """Return the HTML."""
    unit, scores = score_rows(run)
    classes, kind = run.execution["classes"], run.experiment.model.head.kind
    matrix = run.confusion if len(classes) <= MATRIX else None
    row = {name: value for name, value in (baseline_row(run) or {}).items() if value != NONE}
    calibration = run.figure("calibration.test")
    chosen = extras.mistakes[:MISTAKES]
    return render(
        "run.html",
        title=f"{run.experiment.task}: {run.label}",
        lead=_lead(run),
        notes=[],
        label=run.label,
        figures=figure_rows(run),
        baseline=[(run.label, row)] if run.figure("baseline.largest_class") else [],
        scope=scope_of(run),
        commands=extras.commands,
        settings=settings_rows(run),
        trees=spec_trees([run.experiment]),
        splits=data_rows(run),
        labels=label_rows(run),
        source=source_rows(run),
        curves=_curves(run),
        matrix=matrix,
        classes=classes,
        confusions=confusions(run, CONFUSIONS) if len(classes) > 2 else [],
        unit=unit,
        scores=scores,
        lengths=length_rows(run),
        calibration=calibration and _reliability(calibration),
        temperature=run.figure("calibration.temperature"),
        coverage=coverage_rows(run),
        mistakes=[[own.name, *map(shorten, (own.label, own.predicted, own.text)), own.probability] for own in chosen],
        unit_of_counts="tokens" if kind == "tokens" else "texts",
        mistakes_title=MISTAKE_TITLES.get(kind, ""),
        interval=run.figure("test.interval") is not None,
        words=extras.words,
        record=record_rows(run),
        lacking=_lacking(run, extras),
        few_classes=FEW_CLASSES,
    )


def _lead(run: Run) -> str:
    """Return the main figure in a sentence."""
    test, kind = run.result["test"], run.experiment.model.head.kind
    key, name = {
        "pooled": ("accuracy", "accuracy"),
        "multilabel": ("micro_f1", "micro F1"),
        "tokens": ("f1", "F1") if "f1" in test else ("accuracy", "accuracy per token"),
        "decoder": ("exact_match", "exact match"),
        "language": ("perplexity", "perplexity"),
    }[kind]
    figure = f"{test[key]:.2f}" if key == "perplexity" else f"{test[key]:.4f}"
    interval = run.figure("test.interval")
    between = f" (95 % interval {interval[0]:.4f} to {interval[1]:.4f})" if interval else ""
    trained = f"Trained with {run.framework} on {run.execution['device']}."
    return f"Test {name} {figure}{between} on {test['documents']:,} held-out texts. {trained}"


def _curves(run: Run) -> list[tuple[str, str]]:
    if not run.metrics or run.experiment.model.is_linear:
        return []
    found: list[tuple[str, str]] = [(name, curve_svg([run], name, name)) for name in ("loss", "accuracy")]
    steps = [line for line in run.metrics if line.get("split") == "train"]
    if steps and all("learning_rate" in line for line in steps):
        found.append(("learning rate", rate_svg(run, "rate")))
    return found


def _reliability(figures: dict) -> Sequence[tuple[str, str]]:
    names = {"before": "as trained", "after": "calibrated"}
    return [
        (f"{name}: calibration error {100 * figures[key]['error']:.1f} %", reliability_svg(figures[key], key, number))
        for number, (key, name) in enumerate(names.items())
    ]


def _lacking(run: Run, extras: Extras) -> list[str]:
    """Return what this page would show if the run had it."""
    found = [f"{problem}." for problem in run.problems] + extras.lacking
    if run.experiment.model.is_linear:
        found = [own for own in found if not own.startswith("metrics.jsonl")]
        found.append("A linear model of n-grams has no curves: it is fitted in one go.")
    if run.experiment.model.head.kind == "pooled":
        if run.figure("calibration") is None:
            found.append("Calibration: result.json has no entry, as in runs of older versions.")
        if run.figure("baseline") is None:
            found.append("Simple models: the run was not compared with any.")
        if run.figure("test.per_class") is None:
            found.append("Scores by class and the interval: result.json has no entry, as in runs of older versions.")
    return found
