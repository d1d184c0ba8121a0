"""Tables of the simple models beside classifiers of texts, and of the scores of their classes."""

from __future__ import annotations

from core.report.figures import NONE
from core.report.runs import Run


def baseline_row(run: Run) -> dict[str, str] | None:
    """Return the test accuracy of a run with its 95 % interval, and its simple models, by column.

    None for a result that has neither, such as a tagger's.
    """
    interval, found = run.figure("test.interval"), run.figure("baseline.largest_class") and run.figure("baseline")
    if interval is None and found is None:
        return None
    pair = found and found.get("mcnemar")
    return {
        "test accuracy": f"{run.figure('test.accuracy'):.4f}",
        "95 % interval": f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else NONE,
        "simple model": found["name"] if pair else NONE,
        "its test accuracy": f"{found['test']['accuracy']:.4f}" if pair else NONE,
        "its dev accuracy": f"{found['dev']['accuracy']:.4f}" if pair else NONE,
        "only the run right": f"{pair['only_model']:,}" if pair else NONE,
        "only the simple model right": f"{pair['only_baseline']:,}" if pair else NONE,
        "McNemar p": p_value(pair["p"]) if pair else NONE,
        "most frequent class": f"{found['largest_class']['test']['accuracy']:.4f}" if found else NONE,
    }


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
