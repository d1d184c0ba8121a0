"""What an engine computes with: device, implementation and process group."""

from __future__ import annotations

from dataclasses import dataclass

from core.engine.processes import SINGLE_PROCESS, ProcessGroup


@dataclass(frozen=True)
class Executor:
    """What an engine of a backend computes with."""

    device: str
    """`cpu` or `gpu:N`, from the backend's `resolve_device`."""
    implementation: str
    """Implementation of the encoder, from `backends.implementations.resolve_implementation`."""
    group: ProcessGroup = SINGLE_PROCESS
    """Processes that share every batch."""
