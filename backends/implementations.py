"""Which code computes the layers of a model: the framework's, the textbook's, or ours."""

from __future__ import annotations

from backends import kernels
from core.errors import UserError
from core.models.encoders.recurrent import FRAMEWORK_CELLS

IMPLEMENTATIONS = ("builtin", "packed", "loop", "fast")
"""Of the recurrent layers, in every backend (`backends/*/recurrent.py`): the framework's, in two ways to be exact for
unequal lengths, the textbook's, ours."""


SIDE_BY_SIDE = ("loop", "fast")
"""Those that an `Ensemble` has: frameworks' own layers are of one model each."""


def resolve_implementation(request: str, device: str, cell: str, among: tuple[str, ...] = IMPLEMENTATIONS) -> str:
    """`auto`, or one of `among`, to the one that will run this cell on this device: `auto` is the first that can of
    `fast`, `builtin`, `packed`, `loop` on a CPU, of `packed`, `builtin`, `loop` on a GPU.

    Raises UserError if another is asked for than can run.
    """
    own = _no_builtin(cell)
    obstacles = {"fast": why_not_fast(device), "builtin": own, "packed": own, "loop": None}
    if device != "cpu":
        # cuDNN computes both directions at once and no padding. On a CPU neither framework does.
        obstacles = {"packed": own, **obstacles}
    usable = [name for name in obstacles if name in among and not obstacles[name]]
    if request == "auto":
        return usable[0]
    if request not in IMPLEMENTATIONS:
        raise UserError(f"unknown implementation {request!r}: choose one of auto, {', '.join(IMPLEMENTATIONS)}")
    if request not in usable:
        why = obstacles[request] or "the frameworks' own layers do not go side by side"
        raise UserError(f"`implementation` {request}: {why}; use `implementation` {usable[0]}")
    return request


def _no_builtin(cell: str) -> str | None:
    return None if cell in FRAMEWORK_CELLS else f"neither framework has a layer of its own for the cell {cell}"


def why_not_fast(device: str) -> str | None:
    """Why our own recurrent layers cannot run on this device; None if they can."""
    return "our own recurrent layers are for the CPU" if device != "cpu" else kernels.failure()


def implementation_version(implementation: str) -> dict[str, str]:
    """For a run's record: the build of our layers that runs on this machine, where they run."""
    return {"kernels": kernels.target()} if implementation == "fast" else {}
