"""Selection of the implementation that computes an encoder."""

from __future__ import annotations

from types import ModuleType

from backends import kernels
from core.errors import UserError
from core.models.encoders.encoder import Encoder
from core.models.model import Model

IMPLEMENTATIONS = ("builtin", "packed", "loop", "fast")
"""Implementations of encoders in every backend (`backends/*/encoders`).

`builtin` and `packed`: built-in layers of the framework, with two ways to handle unequal lengths; `loop`: the
textbook's steps in framework operations; `fast`: the compiled kernels (`backends/kernels`). Each encoder lists its
supported ones; `Model.implementations` are those that support the head, too.
"""

SIDE_BY_SIDE = ("loop", "fast")
"""Implementations of an `Ensemble`; built-in layers support one model only."""


ON_CPU = ("fast", "builtin", "packed", "loop")
"""All implementations in the order of preference on a CPU."""


def preferred(backend: ModuleType, device: str, encoder: Encoder, dtype: str = "float32") -> tuple[str, ...]:
    """Return all implementations in the backend's order of preference on a device."""
    return ON_CPU if device == "cpu" else backend.preferred_on_gpu(encoder, dtype)


def resolve_implementation(
    request: str,
    device: str,
    model: Model,
    order: tuple[str, ...] = ON_CPU,
    among: tuple[str, ...] = IMPLEMENTATIONS,
) -> str:
    """Return the implementation of a model's encoder on a device, for `auto` or one of `among`.

    `auto` selects the first usable one in `order`, which for a GPU comes from `preferred`. Raises UserError if the
    requested one cannot run.
    """
    reasons = {name: _why_unavailable(name, device, model) for name in order}
    usable = [name for name in order if name in among and not reasons[name]]
    if not usable:
        raise UserError(f"encoder {model.encoder.kind}: not supported by ensemble training: use another encoder")
    if request == "auto":
        return usable[0]
    if request not in IMPLEMENTATIONS:
        raise UserError(f"unknown implementation {request!r}: choose one of auto, {', '.join(IMPLEMENTATIONS)}")
    if request not in usable:
        why = reasons[request] or "built-in layers do not support ensemble training"
        raise UserError(f"`implementation` {request}: {why}: use `implementation` {usable[0]}")
    return request


def _why_unavailable(name: str, device: str, model: Model) -> str | None:
    encoder, own = model.encoder, model.implementations
    if name not in own:
        head = f" with {model.head.describe()}" if name in encoder.implementations else ""
        return f"{encoder.describe()}{head} supports only {', '.join(own)}"
    return why_not_fast(device) if name == "fast" else None


def why_not_fast(device: str) -> str | None:
    """Return why the compiled kernels cannot run on a device; None if they can."""
    return "the compiled kernels run on the CPU only" if device != "cpu" else kernels.failure()


def resolve_word_implementation(request: str, device: str) -> str:
    """Return the implementation of word2vec on a device, for `auto`, `fast` or `loop`.

    Raises UserError if it is unknown, or if `fast` cannot run.
    """
    reason = why_not_fast(device)
    if request == "auto":
        return "loop" if reason else "fast"
    if request not in ("fast", "loop"):
        raise UserError(f"unknown implementation {request!r}: choose one of auto, fast, loop")
    if request == "fast" and reason:
        raise UserError(f"`implementation` fast: {reason}: use `implementation` loop")
    return request


def implementation_version(implementation: str) -> dict[str, str]:
    """Return the build of the compiled kernels for the run record, if they are used."""
    return {"kernels": kernels.target()} if implementation == "fast" else {}
