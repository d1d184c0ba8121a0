"""Shared parts of the pages that compare the textbook's experiments in two frameworks."""

from __future__ import annotations

from collections.abc import Sequence

from core.report.compare import differences
from core.report.figures import spec_trees
from core.report.html import render
from core.spec.experiment import Experiment


def two_frameworks_page(
    task: str, labels: Sequence[str], specs: Sequence[tuple[Experiment, Experiment]], first: str, **values: object
) -> str:
    """Return the page of the task's template.

    Args:
        labels: names of the two frameworks.
        specs: the specs of each model in both frameworks; the page shows those of the first model in full.
        first: name of the first model if there are several, else empty.
        values: further values for the template.
    """
    paths = dict.fromkeys(path for pair in specs for path in differences(pair))
    same = "Each model\u2019s spec is identical in both frameworks" if first else "Both frameworks use the same spec"
    differ = f"Fields that differ between the frameworks: {', '.join(paths)}."
    trees = spec_trees(specs[0])
    return render(
        f"{task}.html",
        title=f"{task}: {' and '.join(labels)}",
        labels=labels,
        same_spec=differ if paths else f"{same}.",
        spec_summary=f"Full spec{'s' * (len(trees) > 1)}" + (f" of the first model ({first})" if first else ""),
        trees=trees,
        **values,
    )
