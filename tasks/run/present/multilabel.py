"""Show the runs of multi-label classifiers: labels, F1, scores of the labels, misclassified texts."""

from __future__ import annotations

from pathlib import Path

from core.models.heads.multilabel_scores import MultilabelEvaluation
from core.train.record import Run
from tasks.cli.console import fact
from tasks.run.present.class_table import ROWS, show_scores
from tasks.run.present.pooled import lacking_lines, listed, save_mistakes

PICTURES: dict[str, str] = {}
"""Files of the pictures other than the curves, by name."""


def describe(run: Run) -> None:
    """Print the labels of the data, how many a text has, and those that dev or test lack."""
    classes, data = run.execution["classes"], run.texts
    train = data["train"]
    fact("labels", listed(classes, train["per_class"]))
    mean, unlabeled = sum(train["per_class"]) / train["documents"], train["unlabeled"]
    fact("", f"{mean:.2f} labels per training text; {unlabeled:,} of these texts have none")
    for line in lacking_lines(classes, data):
        fact("", line)


def headline(result: dict) -> str:
    """Return the main lines of a result."""
    test, dev = result["test"], result["dev"]
    lines = (
        f"[bold]test micro F1 {test['micro_f1']:.4f}[/] (precision {test['precision']:.4f}, recall"
        f" {test['recall']:.4f}) on {test['documents']:,} held-out texts\n"
        f"dev micro F1 {dev['micro_f1']:.4f} at step {dev['step']}; macro F1 {test['macro_f1']:.4f}; exact match"
        f" {test['accuracy']:.4f}: texts with all labels correct"
    )
    if baseline := result.get("baseline"):
        own = baseline["test"]["micro_f1"]
        lines += f"\n{baseline['name']} alone: test micro F1 {own:.4f} (dev {baseline['dev']['micro_f1']:.4f})"
    return lines


def breakdown(found: MultilabelEvaluation, classes: list[str]) -> None:
    """Print the scores of all labels, or of those with the lowest F1 if there are more than `ROWS`."""
    scores = dict(zip(classes, found.per_label(), strict=True))
    if len(classes) <= ROWS:
        show_scores("label", scores, classes)
        return
    tested = [name for name in classes if scores[name]["count"]]
    show_scores("lowest F1", scores, sorted(tested, key=lambda name: scores[name]["f1"]))


def save(run: Run, found: MultilabelEvaluation, cache: Path) -> str:
    """Print the scores of the labels, write and print the most confident errors.

    Return the beginning of the first text, "" if there is none.
    """
    breakdown(found, run.execution["classes"])
    return save_mistakes(run, found, cache)
