"""The record of a run: backend, device, data and time (`execution` in `experiment.json`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from core.data.dataset import Prepared
from core.engine import machine
from core.engine.executor import Executor
from core.engine.processes import ProcessGroup
from core.spec.experiment import Experiment
from core.train.run_folder import ReadOnlyRunFolder, RunFolder
from core.train.setup import Setup
from core.train.state import TrainingState


@dataclass(frozen=True)
class Run:
    """A run with its folder, as used by training and evaluation."""

    experiment: Experiment
    execution: dict
    data: Prepared
    folder: RunFolder
    state: TrainingState

    @property
    def texts(self) -> dict:
        """The record of the data, with the figures of the texts that were read now, whatever a record says."""
        return {**self.execution["data"], **self.data.summary}

    @property
    def title(self) -> str:
        """One-line title: task, recipe, backend and version, device, data."""
        execution, backend = self.execution, self.execution["backend"]
        kind = execution["data"]["kind"]
        where = f"{backend} {execution['versions'][backend]} on {execution['device']}"
        data = f"{'local' if kind == 'path' else kind} data"
        return f"{self.experiment.task}, recipe {self.experiment.recipe}, {where}, {data}"


def executor_record(backend: str, executor: Executor, versions: dict[str, str]) -> dict:
    """Return the executor section of the record, for the run and each segment.

    A run can change backend between segments.
    """
    processes = executor.group.size
    found = {"backend": backend, "device": executor.device, "implementation": executor.implementation}
    return found | {"versions": versions} | ({"processes": processes} if processes > 1 else {})


def create_run(path: Path, setup: Setup, executor: dict, group: ProcessGroup) -> Run:
    """Create the folder of a new run, with record and vocabulary.

    Only the process of rank 0 writes.
    """
    folder = RunFolder.create(path) if group.rank == 0 else ReadOnlyRunFolder(path)
    execution = {
        **executor,
        **setup.execution,
        "machine": machine.description(),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "segments": [{"from_step": 0, **executor}],
    }
    folder.write_record(setup.experiment, execution)
    _write_data(folder, setup)
    return Run(setup.experiment, execution, setup.data, folder, setup.checkpoint.state)


def reopen_run(folder: RunFolder, setup: Setup, executor: dict, group: ProcessGroup) -> Run:
    """Add a segment to the record of a stopped run, and drop metrics of steps to be repeated.

    A segment that ended before its first checkpoint is replaced.
    """
    folder, state = folder if group.rank == 0 else ReadOnlyRunFolder(folder.path), setup.checkpoint.state
    folder.recover(state.step, state.metrics)
    earlier = [own for own in setup.execution["segments"] if own["from_step"] < state.step]
    execution = {**setup.execution, **executor, "segments": [*earlier, {"from_step": state.step, **executor}]}
    folder.write_record(setup.experiment, execution)
    if not state.step:
        _write_data(folder, setup)
    return Run(setup.experiment, execution, setup.data, folder, state)


def _write_data(folder: RunFolder, setup: Setup) -> None:
    """Write what is read from the training texts: vocabularies and n-grams."""
    folder.write_vocabulary(setup.data.vocabulary)
    if setup.data.target_vocabulary is not None:
        folder.write_target_vocabulary(setup.data.target_vocabulary)
    if setup.ngrams is not None:
        folder.write_ngrams(setup.ngrams)
