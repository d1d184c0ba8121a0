"""Choose the backend, device, implementation and process group that run a spec in this process."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from backends import implementations, launchers
from core.engine.contract import Engine, Ensemble
from core.engine.processes import SINGLE_PROCESS, ProcessGroup
from core.spec.experiment import Experiment
from core.train.record import executor_record
from core.train.setup import Setup
from tasks.cli.framework import load_backend


@dataclass(frozen=True)
class Worker:
    """Hold what one process of a run computes with; all of it is known to work."""

    backend: ModuleType
    device: str
    implementation: str
    group: ProcessGroup

    @classmethod
    def join(cls, backend_name: str, device: str, implementation: str, experiment: Experiment) -> Worker:
        """Choose what runs the spec, and join the process group of a distributed launch.

        Raises UserError if backend, device or implementation is unavailable.
        """
        backend, dtype = load_backend(backend_name), experiment.training.dtype
        ranks = launchers.process_ranks(backend_name)
        device = backend.resolve_device(device, dtype)
        if ranks and device != "cpu":
            device = backend.resolve_device(f"gpu:{ranks[2]}", dtype)
        group = backend.init_process_group(device)
        chosen = implementations.resolve_implementation(
            implementation, backend, device, experiment.model.encoder, dtype
        )
        return cls(backend, device, chosen, group)

    def engine(self, setup: Setup) -> Engine:
        """Return an engine with the parameters and moments of the setup's checkpoint."""
        spec, checkpoint = setup.experiment, setup.checkpoint
        engine = self.backend.Engine(
            spec.model, spec.training, checkpoint.parameters, self.device, self.implementation, self.group
        )
        if checkpoint.state.step or checkpoint.moments:
            engine.load(checkpoint.parameters, checkpoint.moments, checkpoint.state.step)
        return engine

    def record(self, engine: Engine) -> dict:
        """Return the entries of the run's record about this worker."""
        return executor_of(self.backend, engine, self.group)


def executor_of(backend: ModuleType, engine: Engine | Ensemble, group: ProcessGroup = SINGLE_PROCESS) -> dict:
    """Return the entries of a run's record about an engine or ensemble and its backend."""
    versions = {**backend.versions(), **implementations.implementation_version(engine.implementation)}
    return executor_record(backend.NAME, engine.device, engine.implementation, versions, group.size)
