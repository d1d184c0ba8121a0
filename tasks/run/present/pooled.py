"""Show the runs of classifiers of texts: classes, accuracy, confusion matrix, misclassified texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.data.class_checks import untested
from core.data.sources.lookup import read_texts
from core.errors import UserError
from core.models.heads.scores import ClassEvaluation, Evaluation, TextEvaluation, scores_by_class
from core.plots.confusion import draw_confusion, numbering
from core.strings import shorten
from core.train.misclassified import most_confident, with_texts, wrong_rows
from core.train.record import Run
from tasks.cli.console import DataProgress, console, fact
from tasks.cli.terminal import literal, note
from tasks.run.present.class_table import NAME, ROWS, show_scores
from tasks.run.present.pictures import LINE, draw_or_note

CONFUSION = "confusion.png"

PICTURES = {"confusion matrix": CONFUSION, "reliability": "reliability.png"}
"""Files of the pictures other than the curves, by name."""

SHOWN = 5
"""Number of misclassified texts to print."""
NONE = "\u2013"
"""Printed for a text without a label."""


LEGEND = 2000
"""Maximum characters of the note with the numbers of classes."""


def describe(run: Run) -> None:
    """Print the classes that the data determined, and those that dev or test lack."""
    if run.experiment.known_classes is not None:
        return
    classes, data = run.execution["classes"], run.texts
    fact("classes", listed(classes, data["train"]["per_class"]))
    for line in lacking_lines(classes, data):
        fact("", line)


def headline(result: dict) -> str:
    """Return the main lines of a result."""
    test, dev = result["test"], result["dev"]
    low, high = test["interval"]
    line = _calibration_line(result)
    calibrated = f"; {line}" if line else ""
    return (
        f"[bold]test accuracy {test['accuracy']:.4f}[/] on {test['documents']:,} held-out texts"
        f" (dev {dev['accuracy']:.4f} at step {dev['step']}; macro F1 {test['macro_f1']:.4f})\n"
        f"95 % interval of the test accuracy: {low:.4f} to {high:.4f}{calibrated}"
    )


def _calibration_line(result: dict[str, Any]) -> str:
    """Return the calibration errors of a result in words, "" for a result without the entry."""
    own = result.get("calibration")
    if own is None:
        return ""
    before, after = (100 * own["test"][name]["error"] for name in ("before", "after"))
    return f"calibration error {before:.1f} %, with --calibrate {after:.1f} %"


def breakdown(found: TextEvaluation, classes: list[str], file: str = "result.json") -> None:
    """Print the scores of all classes, or of those with the lowest F1 if there are more than `ROWS`.

    `file` holds those of all.
    """
    scores = dict(zip(classes, scores_by_class(found.confusion), strict=True))
    if len(classes) <= ROWS:
        show_scores("class", scores, classes)
        return
    tested = [name for name in classes if scores[name]["count"]]
    show_scores("lowest F1", scores, sorted(tested, key=lambda name: scores[name]["f1"]), file)


def save(run: Run, found: TextEvaluation, cache: Path) -> str:
    """Draw the confusion matrix, print the scores of the classes, write and print the most confident errors.

    Return the beginning of the first text, "" if there is none.
    """
    draw_or_note(CONFUSION, lambda: save_confusion(run, found))
    breakdown(found, run.execution["classes"])
    return save_mistakes(run, found, cache)


def save_confusion(run: Run, found: ClassEvaluation) -> None:
    """Draw the confusion matrix, and print a note if its classes are numbered."""
    legend = draw_confusion(
        found.confusion, run.execution["classes"], f"{run.title}: test", run.folder.path / CONFUSION
    )
    if legend:
        note(numbering(legend, CONFUSION), LEGEND)


def save_mistakes(run: Run, found: Evaluation, cache: Path) -> str:
    """Write `mistakes.csv`, the most confident misclassifications with their texts, and print a few.

    Return the beginning of the first text, "" if there is none.
    """
    wrong = most_confident(run.data.test, found, run.execution["classes"])
    if wrong:
        names, fingerprint = {own.name for own in wrong}, run.execution["data"]["fingerprint"]
        with DataProgress() as progress:
            try:
                wrong = with_texts(wrong, read_texts(run.experiment, fingerprint, names, cache, progress))
            except UserError as error:
                note(f"mistakes.csv has no texts: {error}")
    run.folder.write_mistakes([own.cells for own in wrong])
    if not wrong:
        return ""
    number = len(wrong_rows(run.data.test, found))
    console.print(f"\nmost confident misclassifications ({len(wrong[:SHOWN])} of {number:,}):")
    labels = [
        f"true: {shorten(own.label, NAME) or NONE}, predicted: {shorten(own.predicted, NAME) or NONE}"
        for own in wrong[:SHOWN]
    ]
    width = max(map(len, labels))
    room = min(LINE, max(console.width - width - 12, 20)) if console.is_terminal else LINE
    for own, label in zip(wrong[:SHOWN], labels, strict=True):
        console.print(literal(f"  {label.ljust(width)}  {own.probability:.4f}  {shorten(own.text, room)}"))
    fact("errors", str(run.folder.path / "mistakes.csv"))
    return shorten(wrong[0].text, LINE // 2).removesuffix(" \u2026").lstrip("- ")


def listed(classes: list[str], counts: list[int]) -> str:
    """Return the number of classes and the most frequent ones by name."""
    order = sorted(range(len(classes)), key=lambda number: -counts[number])
    named = ", ".join(f"{shorten(classes[number], NAME)} {counts[number]:,}" for number in order[:8])
    more = f", and {len(classes) - 8} more, down to {counts[order[-1]]:,}" if len(classes) > 8 else ""
    return f"{len(classes)}: {named}{more}"


def lacking_lines(classes: list[str], data: dict) -> list[str]:
    """Return a line for each set of classes that dev or test, or both, lack."""
    splits: dict[tuple[str, ...], list[str]] = {}
    for split, names in untested(classes, {split: data[split]["per_class"] for split in ("train", "dev", "test")}):
        splits.setdefault(tuple(names), []).append(split)
    lines = []
    for names, lacking in splits.items():
        shown = ", ".join(shorten(name, NAME) for name in names[:8])
        more = f", and {len(names) - 8} more" if len(names) > 8 else ""
        lines.append(f"{' and '.join(lacking)} {'have' if len(lacking) > 1 else 'has'} no text of: {shown}{more}")
    return lines
