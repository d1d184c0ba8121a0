"""Compare a classifier of texts with simple models, at the end of its run."""

from __future__ import annotations

import time
from typing import Any

from core.data.ngrams.solver import Solver, solve
from core.errors import UserError
from core.models.heads.multilabel_scores import MultilabelEvaluation
from core.models.heads.scores import Evaluation, TextEvaluation
from core.train.baseline import baseline_figures, label_figures, linear_model
from core.train.record import Run
from tasks.cli.console import DataProgress
from tasks.cli.terminal import note


def fit_baseline(run: Run, found: Evaluation, solver: Solver = solve) -> dict | None:
    """Return the entry `baseline` of a result, with progress; None for other models than classifiers of texts.

    If the linear model cannot be fitted, a note says why.
    """
    several = isinstance(found, MultilabelEvaluation)
    if not several and not isinstance(found, TextEvaluation):
        return None
    fit, start = label_figures if several else linear_model, time.perf_counter()
    linear: Any = None
    with DataProgress() as progress:
        try:
            linear = fit(run.experiment, run.data, solver, lambda *done: progress("fitting the n-gram baseline", *done))
        except UserError as error:
            reason = str(error).partition(":")[0]
            note(f"the linear model of n-grams was not fitted: {reason}")
    seconds = round(time.perf_counter() - start, 3)
    if several:
        return None if linear is None else {**linear, "seconds": seconds}
    return {**baseline_figures(run.data, linear, found.predicted), "seconds": seconds}
