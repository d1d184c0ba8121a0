"""The folder of an ensemble: one checkpoint of all models, then a run folder per model.

A common checkpoint ensures that all models are at the same step.
"""

from __future__ import annotations

import dataclasses
from dataclasses import asdict
from pathlib import Path

import numpy as np

from core.checked_json import read_checked_json, write_checked_json
from core.errors import UserError
from core.files import write_text_atomic
from core.models.model import parameter_table
from core.spec.experiment import FORMAT_VERSION
from core.train.ensemble import EnsembleState, Sums
from core.train.members import Member
from core.train.metrics_file import metrics_text
from core.train.optimizer_state import moment_kinds
from core.train.run_folder import CHECKED_SINCE, RunFolder
from core.train.state import TrainingState
from core.train.steps import total_steps

CHECKPOINT = "last.safetensors"


class EnsembleFolder(RunFolder):
    """`metrics.jsonl` of all members, with `run` per line.

    `last.safetensors`; member run folders.
    """

    @property
    def begun(self) -> bool:
        return (self.path / CHECKPOINT).is_file()

    def write_state(self, parameters: dict, moments: dict, state: EnsembleState) -> None:
        """Write the checkpoint: arrays [M, ...] of an `Ensemble`, and the training state."""
        parts = {"parameters": parameters, "best": state.best, "optimizer": moments}
        arrays = {f"{part}/{name}": array for part, own in parts.items() for name, array in own.items()}
        members = [asdict(dataclasses.replace(own, metrics=self.metrics.mark())) for own in state.members]
        self.write_arrays(CHECKPOINT, arrays, {"members": members, "sums": state.sums.tree()})

    def read_state(self, members: list[Member]) -> tuple[dict, dict, EnsembleState]:
        """Read parameters, moments and training state. Raises UserError for a file of another run."""
        arrays, found = self.read_arrays(CHECKPOINT)
        where, experiment = self.path / CHECKPOINT, members[0].experiment
        parts: dict[str, dict[str, np.ndarray]] = {"parameters": {}, "best": {}, "optimizer": {}}
        for name, array in arrays.items():
            part, _, rest = name.partition("/")
            if part in parts:
                parts[part][rest] = array
        table = parameter_table(experiment.model)
        expected = {f"{part}/{row.name}": row.shape for part in ("parameters", "best") for row in table}
        for kind in moment_kinds(experiment.training.optimizer):
            expected |= {f"optimizer/{kind}/{row.name}": row.shape for row in table if row.trainable}
        for name, shape in expected.items():
            if name not in arrays or arrays[name].shape != (len(members), *shape):
                raise UserError(f"{where}: {name} is missing or of another shape: use the checkpoint of this run")
        own = found.get("members") if isinstance(found, dict) else None
        if not isinstance(own, list) or len(own) != len(members):
            raise UserError(f"{where}: expected the state of {len(members)} models: use the checkpoint of this run")
        states = [TrainingState.read(tree, str(where)) for tree in own]
        _, total = total_steps(experiment, members[0].data.train)
        try:
            sums = Sums.read(found.get("sums"), len(members))
        except (KeyError, TypeError, ValueError):
            sums = None
        if sums is None or len({(one.step, one.finished, one.metrics) for one in states}) > 1 or states[0].step > total:
            raise UserError(f"{where}: damaged training state: restore the checkpoint, or start a new run")
        return parts["parameters"], parts["optimizer"], EnsembleState(states, sums, parts["best"])

    def add_segment(self, segment: dict) -> list[dict]:
        """Record which backend computes from a step on.

        Return all segments, as runs can change backend.
        """
        path = self.path / "segments.json"
        segments = self._segments(path) if path.is_file() else []
        # A segment stopped before its first checkpoint left no steps: the next one starts at the same step.
        segments = [own for own in segments if own["from_step"] < segment["from_step"]] + [segment]
        write_checked_json(path, {"format": FORMAT_VERSION, "segments": segments})
        return segments

    def _segments(self, path: Path) -> list[dict]:
        segments = read_checked_json(path, CHECKED_SINCE).get("segments")
        if not isinstance(segments, list) or not all(
            isinstance(own, dict) and type(own.get("from_step")) is int for own in segments
        ):
            raise UserError(f"{path}: damaged (segments): restore the file, or start a new run")
        return segments

    def write_member(
        self, member: Member, execution: dict, best: dict[str, np.ndarray], state: TrainingState, lines: list[dict]
    ) -> RunFolder:
        """Write the run folder of one model, except for the results; rewrites an interrupted one."""
        folder = RunFolder(self.path / member.name)
        folder.path.mkdir(exist_ok=True)
        folder.write_record(member.experiment, execution)
        folder.write_vocabulary(member.data.vocabulary)
        folder.write_best(best, state.best_step)
        own = [{key: value for key, value in line.items() if key != "run"} for line in lines]
        write_text_atomic(folder.path / "metrics.jsonl", metrics_text(own))
        return folder
