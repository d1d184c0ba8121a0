"""The progress of a run, as stored in its checkpoints."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field, fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from core.errors import UserError
from core.models.heads.scores import Evaluation
from core.spec.experiment import describe
from core.strings import shorten

RENAMED = {"best_accuracy": "best_score", "examples": "counted", "correct": "right"}
"""Keys of metrics and training states in format 1, and their names since format 2."""


def in_this_format(tree: Any) -> Any:
    """Convert JSON of an older format to the keys of this one."""
    if isinstance(tree, list):
        return [in_this_format(entry) for entry in tree]
    if isinstance(tree, dict):
        return {RENAMED.get(key, key): in_this_format(entry) for key, entry in tree.items()}
    return tree


@dataclass
class TrainingState:
    """Progress of a run. All other state of a resume is a function of the spec and `step`."""

    step: int = 0
    best_step: int = 0
    """Step of the best checkpoint, 0 for none."""
    best_score: float = 0.0
    best_loss: float = 0.0
    evaluations: int = 0
    evaluations_since_best: int = 0
    tokens: int = 0
    seconds: float = 0.0
    """Training time so far, without evaluation."""
    epoch_seconds: list[float] = field(default_factory=list)
    finished: bool = False
    metrics: str = ""
    """Size and SHA-256 of `metrics.jsonl` at this step (`MetricsFile.mark`), "" before format 3."""

    def take(self, evaluation: Evaluation) -> bool:
        """Record an evaluation on dev; return whether it is the best so far.

        The best has a higher score, or an equal score and a lower loss; its loss must be finite.
        """
        best = self.best_step == 0 or (evaluation.score, -evaluation.loss) > (self.best_score, -self.best_loss)
        best = best and math.isfinite(evaluation.loss)
        self.evaluations += 1
        self.evaluations_since_best = 0 if best else self.evaluations_since_best + 1
        if best:
            self.best_step, self.best_score, self.best_loss = self.step, evaluation.score, evaluation.loss
        return best

    @classmethod
    def read(cls, tree: object, where: str) -> TrainingState:
        """Return the state in decoded JSON. Raises UserError, naming `where`, for one that no run has."""
        advice = "restore the checkpoint, or start a new run"
        try:
            if not isinstance(tree, dict) or {*tree, "metrics"} != {part.name for part in fields(cls)}:
                raise UserError(
                    f"{where}: no training state that this version of seqtwin can read: update seqtwin, or start a"
                    f" new run"
                )
            state = TypeAdapter(cls).validate_json(json.dumps(tree), strict=True)
        except ValidationError as error:
            raise UserError(f"{where}: damaged training state ({describe(error)}): {advice}") from None
        if problem := state.problem():
            raise UserError(f"{where}: damaged training state ({problem}): {advice}")
        return state

    def problem(self) -> str:
        """Return why no run has this state, "" if one can."""
        counts = {"step": self.step, "tokens": self.tokens, "evaluations": self.evaluations}
        times = {"seconds": self.seconds, "best_loss": self.best_loss}
        times |= {f"epoch_seconds[{place}]": value for place, value in enumerate(self.epoch_seconds)}
        for name, value in {**counts, **times}.items():
            if not math.isfinite(value) or value < 0:
                return f"{name} is {value:g}, expected 0 or more"
        for name, limit in (("best_step", self.step), ("evaluations_since_best", self.evaluations)):
            if not 0 <= getattr(self, name) <= limit:
                return f"{name} is {getattr(self, name)}, expected 0 to {limit}"
        if not 0 <= self.best_score <= 1:
            return f"best_score is {self.best_score:g}, expected 0 to 1"
        if not re.fullmatch(r"([0-9]{1,15}:[0-9a-f]{64})?", self.metrics):
            return f"metrics is {shorten(self.metrics, 40)!r}, expected a size and a digest"
        return ""
