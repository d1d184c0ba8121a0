"""The frameworks that can run a spec. This is the only place that knows their names."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from backends import kernels
from core.errors import UserError
from core.spec import FRAMEWORK_CELLS
from core.world import Launcher

_REQUIREMENTS = {"paddle": "paddlepaddle", "torch": "torch"}
"""What to install for each backend whose package is named like the module it imports."""

NAMES = tuple(_REQUIREMENTS)


LAUNCHERS = {
    "paddle": Launcher(
        "python -m paddle.distributed.launch --nproc_per_node N python -m",  # it knows no -m of its own
        "PADDLE_TRAINER_ID",
        "PADDLE_TRAINERS_NUM",
        "PADDLE_LOCAL_RANK",
    ),
    "torch": Launcher("torchrun --nproc-per-node N -m", "RANK", "WORLD_SIZE", "LOCAL_RANK"),
}
"""What starts several processes for each backend."""


def launched(name: str) -> tuple[int, int, int] | None:
    """(rank, size, local rank) of this process among several, None if it is alone. Raises UserError where another
    backend's launcher started them: they would not meet."""
    for other, launcher in LAUNCHERS.items():
        if other != name and launcher.place() is not None and LAUNCHERS[name].place() is None:
            own = LAUNCHERS[name].command
            raise UserError(f"started by {launcher.command.split(' -')[0]}, and the backend is {name}: use {own} TASK")
    return LAUNCHERS[name].place()


def rank() -> int:
    """Of this process among several, whichever launcher started them; 0 if it is alone."""
    return next((place[0] for place in map(Launcher.place, LAUNCHERS.values()) if place is not None), 0)


def refuse_several(what: str) -> None:
    """Raises UserError if this process is one of several: `what` is done by one."""
    if any(launcher.place() is not None for launcher in LAUNCHERS.values()):
        raise UserError(f"{what} is not shared out among processes: start it without torchrun or paddle.distributed")


def load(name: str) -> ModuleType:
    """The backend package `name`, importing its framework now. Raises UserError if unknown or not installed."""
    if name not in _REQUIREMENTS:
        raise UserError(f"unknown backend {name!r}: choose one of {', '.join(NAMES)}")
    if not installed(name):
        raise UserError(f"backend {name}: its framework is not installed; run: {how_to_install(name)}")
    return importlib.import_module(f"backends.{name}")


def how_to_install(name: str) -> str:
    """What to type for the framework of a backend."""
    return f"pip install {_REQUIREMENTS[name]}"


def installed(name: str) -> bool:
    """Whether the framework of a backend can be imported; it is not imported to find out."""
    return importlib.util.find_spec(name) is not None


def first_installed() -> str:
    """The backend to use where none is named. Raises UserError if there is none at all."""
    for name in NAMES:
        if installed(name):
            return name
    raise UserError("no framework is installed; run: pip install " + " or: pip install ".join(_REQUIREMENTS.values()))


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
    obstacles = {"fast": no_fast(device), "builtin": own, "packed": own, "loop": None}
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
        raise UserError(f"--impl {request}: {why}; use --impl {usable[0]}")
    return request


def _no_builtin(cell: str) -> str | None:
    return None if cell in FRAMEWORK_CELLS else f"neither framework has a layer of its own for the cell {cell}"


def no_fast(device: str) -> str | None:
    """Why our own recurrent layers cannot run on this device; None if they can."""
    return "our own recurrent layers are for the CPU" if device != "cpu" else kernels.failure()


def implementation_version(implementation: str) -> dict[str, str]:
    """For a run's record: the build of our layers that runs on this machine, where they run."""
    return {"kernels": kernels.target()} if implementation == "fast" else {}
