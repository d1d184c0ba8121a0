"""The progress of a word2vec run, as stored in its checkpoints."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields

from pydantic import TypeAdapter, ValidationError

from core.errors import UserError
from core.spec.experiment import describe


@dataclass
class WordState:
    """Progress of a run. All other state of a resume is a function of the spec, `epoch` and `place`."""

    epoch: int = 0
    """Complete epochs."""
    place: int = 0
    """Chunks of the current epoch that are trained."""
    step: int = 0
    words: int = 0
    """Words of the trained chunks, before subsampling."""
    predictions: int = 0
    loss: float = 0.0
    """Summed loss of the current epoch, or of the last one at its end."""
    counted: int = 0
    """Predictions of that sum."""
    seconds: float = 0.0
    """Training time, without checkpoints and evaluations."""
    cpu_seconds: float = 0.0
    """CPU time of all threads in it."""
    metrics: str = ""
    """Size and SHA-256 of `metrics.jsonl` (`MetricsFile.mark`)."""

    @classmethod
    def read(cls, tree: object, where: str, epochs: int, chunks: int) -> WordState:
        """Return the state in decoded JSON of a run of `epochs` with `chunks` each.

        Raises UserError, naming `where`, for one that such a run does not have.
        """
        try:
            if not isinstance(tree, dict) or set(tree) != {part.name for part in fields(cls)}:
                raise UserError(f"{where}: no state of a word2vec run: restore the checkpoint, or start a new run")
            state = TypeAdapter(cls).validate_json(json.dumps(tree), strict=True)
        except ValidationError as error:
            raise UserError(
                f"{where}: damaged state ({describe(error)}): restore the checkpoint, or start a new run"
            ) from None
        numbers = (state.step, state.words, state.predictions, state.counted, state.seconds, state.cpu_seconds)
        last = chunks - 1 if state.epoch < epochs else 0
        if not (0 <= state.epoch <= epochs and 0 <= state.place <= last and min(numbers) >= 0):
            raise UserError(
                f"{where}: damaged state, got epoch {state.epoch} and chunk {state.place}, expected at most {epochs}"
                f" epochs of {chunks} chunks: restore the checkpoint, or start a new run"
            )
        if not re.fullmatch(r"([0-9]{1,15}:[0-9a-f]{64})?", state.metrics):
            raise UserError(f"{where}: damaged state (metrics): restore the checkpoint, or start a new run")
        return state
