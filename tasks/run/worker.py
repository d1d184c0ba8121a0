"""Choose the backend, device, implementation and process group that run a spec in this process."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING

import backends
from backends import implementations, launchers
from backends.implementations import IMPLEMENTATIONS, SIDE_BY_SIDE
from core.engine import devices
from core.engine.contract import Engine, Ensemble
from core.engine.executor import Executor
from core.engine.memory import check_memory, device_limit
from core.spec.experiment import Experiment
from tasks.cli.framework import load_backend

if TYPE_CHECKING:
    # Not imported for a prediction, which then starts faster.
    from core.train.members import Member
    from core.train.setup import Setup


@dataclass(frozen=True)
class Request:
    """What the user asked to compute with."""

    backend: str | None = None
    """Name of the backend; None for the run's, or the first installed one."""
    device: str = "auto"
    """`auto`, `cpu`, `gpu` or `gpu:N`."""
    implementation: str = "auto"

    @classmethod
    def read(cls, arguments: argparse.Namespace) -> Request:
        """Return the request in `--backend`, `--device` and `--impl`. Raises UserError for an invalid device."""
        device = arguments.device or "auto"
        devices.parse(device)
        return cls(arguments.backend, device, arguments.impl)

    @property
    def backend_name(self) -> str:
        """Name of the backend, by default of the first installed one."""
        return backends.first_installed() if self.backend is None else self.backend

    def or_backend(self, name: str) -> Request:
        """Return the request with this backend, unless it names one."""
        return replace(self, backend=self.backend or name)


def implementation_on(
    device: str, request: Request, backend: ModuleType, experiment: Experiment, among=IMPLEMENTATIONS
) -> str:
    """Return the implementation that runs the spec on a device. Raises UserError if the requested one cannot."""
    model = experiment.model
    order = implementations.preferred(backend, device, model.encoder, experiment.training.dtype)
    return implementations.resolve_implementation(request.implementation, device, model, order, among)


@dataclass(frozen=True)
class Worker:
    """Hold what one process of a run computes with; all of it is known to work."""

    backend: ModuleType
    executor: Executor

    @classmethod
    def join(cls, request: Request, experiment: Experiment) -> Worker:
        """Choose what runs the spec, and join the process group of a distributed launch.

        Raises UserError if backend, device or implementation is unavailable.
        """
        name = request.backend_name
        backend, dtype = load_backend(name), experiment.training.dtype
        ranks = launchers.process_ranks(name)
        device = backend.resolve_device(request.device, dtype)
        if ranks and device != "cpu":
            device = backend.resolve_device(f"gpu:{ranks[2]}", dtype)
        group = backend.init_process_group(device)
        return cls(backend, Executor(device, implementation_on(device, request, backend, experiment), group))

    @classmethod
    def of_ensemble(cls, request: Request, experiment: Experiment) -> Worker:
        """Choose what trains an ensemble of the spec. Raises UserError like `join`."""
        backend = load_backend(request.backend_name)
        device = backend.resolve_device(request.device, experiment.training.dtype)
        return cls(backend, Executor(device, implementation_on(device, request, backend, experiment, SIDE_BY_SIDE)))

    def engine(self, setup: Setup) -> Engine:
        """Return an engine with the parameters and moments of the setup's checkpoint.

        Raises UserError if the device has too little memory to train it.
        """
        spec, checkpoint = setup.experiment, setup.checkpoint
        limit = device_limit(self.executor.device, self.backend.gpus)
        check_memory(spec, limit, lengths=setup.data.train.lengths, shards=self.executor.group.size)
        engine = self.backend.Engine(spec.model, spec.training, checkpoint.parameters, self.executor)
        if checkpoint.state.step or checkpoint.moments:
            engine.load(checkpoint.parameters, checkpoint.moments, checkpoint.state.step)
        return engine

    def ensemble(self, members: list[Member], values: dict | None = None) -> Ensemble:
        """Return the models with these parameters, or with their initial ones."""
        from core.train.members import starting_values

        experiment = members[0].experiment
        seeds = [member.experiment.training.seed for member in members]
        values = starting_values(members) if values is None else values
        return self.backend.Ensemble(experiment.model, experiment.training, seeds, values, self.executor)

    def record(self) -> dict:
        """Return the entries of the run's record about this worker."""
        from core.train.record import executor_record

        own = self.executor
        versions = {**self.backend.versions(), **implementations.implementation_version(own.implementation)}
        return executor_record(self.backend.NAME, own, versions)
