"""Calibrate the classifier of a finished run."""

from __future__ import annotations

from typing import Any

from core.models.heads.scores import Evaluation
from core.plots.reliability import draw_reliability
from core.train.calibration import calibration_figures
from core.train.record import Run
from tasks.run.present.pictures import draw_or_note

RELIABILITY = "reliability.png"
"""Picture of accuracy by confidence, in the folder of a classifier of texts."""


def with_calibration(run: Run, result: dict[str, Any], dev: Evaluation, test: Evaluation) -> dict[str, Any]:
    """Return the result with the entry `calibration`, and draw it; unchanged for other models."""
    found = calibration_figures(run, dev, test)
    if found:
        title = f"{run.title}: reliability"
        draw_or_note(RELIABILITY, lambda: draw_reliability(found["calibration"], title, run.folder.path / RELIABILITY))
    return {**result, **found}
