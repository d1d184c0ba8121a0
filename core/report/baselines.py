"""Tables of the simple models beside classifiers of texts, and of the scores of their classes."""

from __future__ import annotations

from core.report.figures import NONE
from core.report.runs import Run


def baseline_row(run: Run) -> dict[str, str] | None:
    """Return the accuracies of the simple models of a run, by column; None if its result has none."""
    found = run.figure("baseline")
    if not isinstance(found, dict) or "largest_class" not in found:
        return None
    pair = found.get("mcnemar")
    linear = pair is not None
    return {
        "simple model": found["name"],
        "its test accuracy": f"{found['test']['accuracy']:.4f}",
        "its dev accuracy": f"{found['dev']['accuracy']:.4f}",
        "only the run right": f"{pair['only_model']:,}" if linear else NONE,
        "only the simple model right": f"{pair['only_baseline']:,}" if linear else NONE,
        "McNemar p": p_value(pair["p"]) if linear else NONE,
        "most frequent class": f"{found['largest_class']['test']['accuracy']:.4f}",
    }


def interval_of(run: Run) -> str:
    """Return the 95 % interval of the test accuracy, as text."""
    found = run.figure("test.interval")
    return NONE if found is None else f"{found[0]:.4f} to {found[1]:.4f}"


def class_rows(run: Run) -> list[tuple[str, dict[str, str]]]:
    """Return the names and scores of the classes, by column; none if the result has none for each."""
    found, classes = run.figure("test.per_class") or [], run.execution["classes"]
    if len(found) != len(classes):
        return []
    return [
        (
            name,
            {
                "precision": f"{own['precision']:.4f}",
                "recall": f"{own['recall']:.4f}",
                "F1": f"{own['f1']:.4f}",
                "texts": f"{own['count']:,}",
            },
        )
        for name, own in zip(classes, found, strict=True)
    ]


def p_value(p: float) -> str:
    """Return a p-value with two digits, or as below 0.001."""
    return f"{p:.2g}" if p >= 0.001 else "< 0.001"
