"""Which code computes an encoder: the framework's, the textbook's, or ours."""

from __future__ import annotations

from types import ModuleType

from backends import kernels
from core.errors import UserError
from core.models.encoders.encoder import Encoder

IMPLEMENTATIONS = ("builtin", "packed", "loop", "fast")
"""Of the encoders, in every backend (`backends/*/encoders`): the framework's own layers, in two ways to be exact for
unequal lengths, the textbook's steps in framework operations, ours. Each encoder says which of them it has."""

SIDE_BY_SIDE = ("loop", "fast")
"""Those that an `Ensemble` has: frameworks' own layers are of one model each."""


def resolve_implementation(
    request: str,
    backend: ModuleType | None,
    device: str,
    encoder: Encoder,
    dtype: str = "float32",
    among: tuple[str, ...] = IMPLEMENTATIONS,
) -> str:
    """`auto`, or one of `among`, to the one that will compute this encoder on this device: `auto` is the first that
    can, on a CPU of `fast`, `builtin`, `packed`, `loop`, on a GPU of what `backend` prefers there.

    Raises UserError if another is asked for than can run. `backend` may be None for a CPU.
    """
    order = ("fast", "builtin", "packed", "loop") if device == "cpu" else backend.preferred_on_gpu(encoder, dtype)
    obstacles = {name: _obstacle(name, device, encoder) for name in order}
    usable = [name for name in order if name in among and not obstacles[name]]
    if not usable:
        raise UserError(f"encoder {encoder.kind}: models cannot be trained side by side with it")
    if request == "auto":
        return usable[0]
    if request not in IMPLEMENTATIONS:
        raise UserError(f"unknown implementation {request!r}: choose one of auto, {', '.join(IMPLEMENTATIONS)}")
    if request not in usable:
        why = obstacles[request] or "the frameworks' own layers do not go side by side"
        raise UserError(f"`implementation` {request}: {why}; use `implementation` {usable[0]}")
    return request


def _obstacle(name: str, device: str, encoder: Encoder) -> str | None:
    if name not in encoder.implementations:
        return f"{encoder.describe()} has only {', '.join(encoder.implementations)}"
    return why_not_fast(device) if name == "fast" else None


def why_not_fast(device: str) -> str | None:
    """Why our own recurrent layers cannot run on this device; None if they can."""
    return "our own recurrent layers are for the CPU" if device != "cpu" else kernels.failure()


def implementation_version(implementation: str) -> dict[str, str]:
    """For a run's record: the build of our layers that runs on this machine, where they run."""
    return {"kernels": kernels.target()} if implementation == "fast" else {}
