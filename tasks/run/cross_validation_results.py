"""Write and print what the folds of a cross-validation give together."""

from __future__ import annotations

import io
from pathlib import Path

from core.analysis.label_issues import LabelIssue, label_issues
from core.checked_json import write_checked_json
from core.data.sources.lookup import read_texts
from core.errors import UserError
from core.files import as_spreadsheet_text, row_writer, write_text_atomic
from core.plots.confusion import draw_confusion, numbering
from core.report.figures import NONE, duration
from core.report.folds import OutOfFold, cross_validation_figures, fold_figures, out_of_fold
from core.report.runs import Run, read_run
from core.spec.experiment import FORMAT_VERSION, Experiment
from core.strings import shorten
from tasks.cli.console import DataProgress, console, fact
from tasks.cli.terminal import literal, note
from tasks.run.present.baselines import p_value
from tasks.run.present.class_table import NAME
from tasks.run.present.pictures import LINE, draw_or_note
from tasks.run.present.pooled import CONFUSION, LEGEND, breakdown

RESULTS, PREDICTIONS, LABELS = "results.json", "predictions.csv", "labels.csv"
SHOWN = 5
"""Number of suspicious labels to print."""
WIDTH = 16
COLUMNS = {
    "accuracy": "test accuracy",
    "macro_f1": "macro F1",
    "baseline_accuracy": "n-grams alone",
    "dev_accuracy": "dev accuracy",
    "best_epoch": "best epoch",
    "seconds": "training",
}
STATISTICS = {"mean": "mean", "std. dev.": "std", "lowest": "min", "highest": "max"}
"""Rows below the folds, and their names in `results.json`."""
FILES = {"results": RESULTS, "predictions": PREDICTIONS, "labels": LABELS, "confusion matrix": CONFUSION}


def fold_line(path: Path, fold: int, folds: int) -> str:
    """Return the main figures of a finished fold."""
    own = fold_figures(read_run(path, ""))
    seconds = duration(own["seconds"] or 0.0)
    return f"fold {fold} of {folds}: test accuracy {own['accuracy']:.4f}, macro F1 {own['macro_f1']:.4f}; {seconds}"


def write_results(paths: list[Path], experiment: Experiment, folder: Path, cache: Path) -> None:
    """Write predictions, suspicious labels, confusion matrix and figures of the finished folds; print the figures."""
    runs = [read_run(path, path.name) for path in paths]
    found = out_of_fold(runs)
    column, prefix = ("row", "train/") if experiment.data.kind == "table" else ("id", "")
    write_text_atomic(folder / PREDICTIONS, found.csv(column, prefix))
    issues = label_issues(found.probabilities, found.labels)
    texts = _texts(runs[0], {found.names[own.row] for own in issues}, cache)
    _write_labels(folder / LABELS, issues, found, texts, (column, prefix))
    evaluation = found.evaluation
    title = f"{experiment.task}, {len(runs)} folds: all texts"
    draw_or_note(CONFUSION, lambda: _draw(evaluation.confusion, found.classes, title, folder / CONFUSION))
    figures = cross_validation_figures(runs, found)
    figures["suspicious_labels"] = len(issues)
    # Written last: it marks the cross-validation as finished.
    write_checked_json(folder / RESULTS, {"format": FORMAT_VERSION, "kind": "cross-validation", **figures})
    _show(figures, runs)
    breakdown(evaluation, found.classes, RESULTS)
    _show_labels(issues, found, texts, prefix)
    for name, file in {
        "results": RESULTS,
        "predictions": PREDICTIONS,
        "labels": LABELS,
        "confusion": CONFUSION,
    }.items():
        if (folder / file).is_file():
            fact(name, str(folder / file), WIDTH)


def _texts(run: Run, names: set[str], cache: Path) -> dict[str, str]:
    """Return the texts with these names; none, with a note, if the data is missing or changed."""
    with DataProgress() as progress:
        try:
            return read_texts(run.experiment, run.execution["data"]["fingerprint"], names, cache, progress)
        except UserError as error:
            note(f"{LABELS} has no texts: {error}")
            return {}


def _write_labels(
    path: Path, issues: list[LabelIssue], found: OutOfFold, texts: dict[str, str], names: tuple[str, str]
) -> None:
    """Write the suspicious labels for spreadsheets, the most suspicious first."""
    column, prefix = names
    stream = io.StringIO()
    stream.write("\ufeff")
    write = row_writer(stream)
    write(["rank", column, "label", "suggested", "p_label", "p_suggested", "text"])
    for rank, own in enumerate(issues, start=1):
        name = found.names[own.row]
        cells = [str(rank), name.removeprefix(prefix), found.classes[own.label], found.classes[own.suggested]]
        cells += [f"{own.label_probability:.6f}", f"{own.suggested_probability:.6f}", texts.get(name, "")]
        write([as_spreadsheet_text(cell) for cell in cells])
    write_text_atomic(path, stream.getvalue())


def _draw(confusion, classes: list[str], title: str, path: Path) -> None:
    if legend := draw_confusion(confusion, classes, title, path):
        note(numbering(legend, CONFUSION), LEGEND)


def _show(figures: dict, runs: list[Run]) -> None:
    """Print the table of the folds, with mean, spread and range, and the comparison with the n-grams."""
    columns = {name: title for name, title in COLUMNS.items() if figures["folds"][0][name] is not None}
    rows = [
        {"": f"fold {number}", **{name: _cell(name, own[name]) for name in columns}}
        for number, own in enumerate(figures["folds"], start=1)
    ]
    for title, statistic in STATISTICS.items():
        cells = {name: _cell(name, figures[name][statistic]) if name in figures else "" for name in columns}
        rows.append({"": title, **cells})
    head = {"": "", **columns}
    widths = {name: max(len(title), *(len(row[name]) for row in rows)) for name, title in head.items()}
    console.print()
    console.print("[bold]" + "  ".join(title.ljust(widths[name]) for name, title in head.items()).rstrip() + "[/]")
    for row in rows:
        console.print(literal("  ".join(row[name].ljust(width) for name, width in widths.items()).rstrip()))
    together, own = figures["together"], figures["accuracy"]
    low, high = together["interval"]
    console.print(
        f"\n[bold]accuracy {own['mean']:.4f} ± {own['std']:.4f}[/] over {len(runs)} folds; {figures['texts']:,} texts"
        f" together {together['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f})"
    )
    if "mcnemar" in figures:
        pair, mean = figures["mcnemar"], figures["baseline_accuracy"]["mean"]
        console.print(
            f"n-grams alone {mean:.4f}: {pair['only_model']:,} texts only this model has right,"
            f" {pair['only_baseline']:,} only the n-grams, {p_value(pair['p'])}"
        )
    if "largest_class_accuracy" in figures:
        console.print(f"most frequent class: {figures['largest_class_accuracy']['mean']:.4f}")


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return NONE
    return duration(value) if name == "seconds" else f"{value:g}" if name == "best_epoch" else f"{value:.4f}"


def _show_labels(issues: list[LabelIssue], found: OutOfFold, texts: dict[str, str], prefix: str) -> None:
    if not issues:
        console.print("\nno suspicious labels")
        return
    console.print(f"\nsuspicious labels ({len(issues[:SHOWN])} of {len(issues):,}):")
    for own in issues[:SHOWN]:
        name = found.names[own.row]
        label, suggested = (shorten(found.classes[number], NAME) for number in (own.label, own.suggested))
        said = f"{name.removeprefix(prefix)}: {label}, suggested: {suggested} ({own.suggested_probability:.4f})"
        console.print(literal(f"  {said}  {shorten(texts.get(name, ''), LINE)}"))
