"""What the pages of the textbook's experiments have in common: the same models in two frameworks, and their specs."""

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
        specs: the spec of each model in either framework; those of the first are shown whole.
        first: name of the first model, where there are several.
        values: what the template says of them.
    """
    paths = dict.fromkeys(path for pair in specs for path in differences(pair))
    same = "Each model\u2019s spec is the same in both frameworks" if first else "The spec is the same in both"
    differ = f"Fields that differ between the frameworks: {', '.join(paths)}."
    trees = spec_trees(specs[0])
    return render(
        f"{task}.html",
        title=f"{task}: {' and '.join(labels)}",
        labels=labels,
        same_spec=differ if paths else f"{same}, field for field.",
        spec_summary=f"The whole spec{'s' * (len(trees) > 1)}" + (f" of the first model ({first})" if first else ""),
        trees=trees,
        **values,
    )
