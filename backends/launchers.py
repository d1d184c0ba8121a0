"""Processes that a framework's launcher started."""

from __future__ import annotations

from core.engine.processes import Launcher
from core.errors import UserError

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
