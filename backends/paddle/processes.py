"""Several processes: `paddle.distributed.launch` starts them, gloo (CPU) or NCCL (GPUs) adds their arrays."""

from __future__ import annotations

import contextlib
import io
import os

import numpy as np

from backends import launchers
from backends.paddle.framework import paddle
from backends.paddle.runtime import NAME, native_device, to_numpy, to_tensor
from core.engine.processes import SINGLE_PROCESS, ProcessGroup, peer_lost


class Processes:
    """See `core.engine.processes.ProcessGroup`."""

    def __init__(self, place: tuple[int, int, int], device: str) -> None:
        self.rank, self.size, self.local_rank = place
        self._native_device = native_device(device)
        if device == "cpu":
            # Its launcher says so only where there is no GPU, and a build for GPUs would take NCCL.
            os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"
        else:
            paddle.device.set_device(device)
        # It lists flags that differ from their defaults, which it set itself.
        with contextlib.redirect_stderr(io.StringIO()):
            paddle.distributed.init_parallel_env()

    def sum(self, array: np.ndarray) -> np.ndarray:
        tensor = to_tensor(array, self._native_device).clone()
        self.add_up(tensor)
        return to_numpy(tensor)

    def add_up(self, tensor: paddle.Tensor) -> None:
        """The sum over processes, in place."""
        try:
            paddle.distributed.all_reduce(tensor)
        except (RuntimeError, OSError) as error:
            raise peer_lost(self, error) from None


def init_process_group(device: str) -> ProcessGroup:
    """This process among those that its launcher started; they meet here."""
    place = launchers.LAUNCHERS[NAME].place()
    return SINGLE_PROCESS if place is None else Processes(place, device)
