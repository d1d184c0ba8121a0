"""A model of a recording in the place of a living one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.errors import UserError
from core.twin.contract import Optimization, Run
from core.twin.file import ModelRecord
from core.twin.recording import Arrays, Module, Parameter, Recording, Setting, Step


class RecordedSide:
    """The side (`core.twin.contract.Side`) of a file: it gives back what was recorded, and computes nothing."""

    def __init__(self, record: ModelRecord, path: str = "") -> None:
        """Raise ValueError for a record without a recording. `path` names the file in errors."""
        first = record.recordings[0]
        self.record, self.path = record, path
        self.framework, self.version = first.framework, first.version
        self.name = record.name

    def describe(self) -> tuple[tuple[Module, ...], tuple[Parameter, ...]]:
        first = self.record.recordings[0]
        return first.modules, first.parameters

    def write(self, values: Mapping[str, np.ndarray]) -> None:
        """Raise UserError: the values of a recording cannot change."""
        raise UserError(f"{self.path}: a recording keeps its weights: copy them into the other model")

    def run(self, how: Run) -> Recording:
        """Return the recording of this mode, number type and seed. Raises UserError if there is none."""
        for own in self.record.recordings:
            if (own.mode, own.dtype, own.seed) == (how.mode, how.dtype, how.seed):
                if _same(own.inputs, how.inputs):
                    return own
                raise UserError(f"{self.path}: recorded with other inputs: give none, or record it again")
        held = ", ".join(f"{own.mode} in {own.dtype} with seed {own.seed}" for own in self.record.recordings)
        wanted = f"{how.mode} mode in {how.dtype} with seed {how.seed}"
        raise UserError(f"{self.path}: {wanted} was not recorded, it holds {held}: record it again")

    def repeat(
        self, path: str, inputs: Arrays, settings: Mapping[str, Setting], how: Run, lengths: np.ndarray | None = None
    ) -> Arrays | None:
        """Return None: a recording calls no layer again."""
        return None

    def train(self, how: Run, batches: list[Arrays], optimization: Optimization) -> list[Step]:
        """Return the recorded steps. Raises UserError if the model was trained otherwise."""
        own = self.record
        if own.optimization is None:
            raise UserError(f"{self.path}: no training steps were recorded: record them, or compare without steps")
        if own.optimization != optimization:
            raise UserError(f"{self.path}: recorded with another optimizer or number of steps: use the same here")
        recorded = own.batches
        if len(recorded) != len(batches) or not all(map(_same, recorded, batches)):
            raise UserError(f"{self.path}: recorded with other batches: give none, or record it again")
        return list(own.steps)


def _same(first: Arrays, second: Arrays) -> bool:
    equal_names = first.keys() == second.keys()
    return equal_names and all(np.array_equal(first[name], second[name], equal_nan=True) for name in first)
