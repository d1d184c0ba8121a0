"""Launchers of distributed training, and the processes that they started."""

from __future__ import annotations

from core.engine.processes import Launcher
from core.errors import UserError

LAUNCHERS = {
    "paddle": Launcher(
        "python -m paddle.distributed.launch --nproc_per_node N python -m",  # the launcher has no -m option
        "PADDLE_TRAINER_ID",
        "PADDLE_TRAINERS_NUM",
        "PADDLE_LOCAL_RANK",
    ),
    "torch": Launcher("torchrun --nproc-per-node N -m", "RANK", "WORLD_SIZE", "LOCAL_RANK"),
}
"""Launcher of each backend."""


def process_ranks(name: str) -> tuple[int, int, int] | None:
    """Return (rank, size, local rank) of this process, None for a single process.

    Raises UserError if the launcher of another backend started it, as no process group could be formed.
    """
    for other, launcher in LAUNCHERS.items():
        if other != name and launcher.ranks() is not None and LAUNCHERS[name].ranks() is None:
            own = LAUNCHERS[name].command
            raise UserError(f"started by {launcher.command.split(' -')[0]}, but the backend is {name}: use {own} TASK")
    return LAUNCHERS[name].ranks()


def rank() -> int:
    """Return the rank of this process for any launcher, 0 for a single process."""
    return next((ranks[0] for ranks in map(Launcher.ranks, LAUNCHERS.values()) if ranks is not None), 0)


def require_single_process(what: str) -> None:
    """Raise UserError if this process is one of several, as `what` supports one process only."""
    if any(launcher.ranks() is not None for launcher in LAUNCHERS.values()):
        raise UserError(f"{what} does not support distributed launch: start it without torchrun or paddle.distributed")
