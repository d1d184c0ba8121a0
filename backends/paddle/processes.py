"""Process group of `paddle.distributed.launch`, with gloo (CPU) or NCCL (GPUs)."""

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

    def __init__(self, ranks: tuple[int, int, int], device: str) -> None:
        self.rank, self.size, self.local_rank = ranks
        self._native_device = native_device(device)
        if device == "cpu":
            # The launcher sets this only if there is no GPU; otherwise a GPU build would use NCCL.
            os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"
        else:
            paddle.device.set_device(device)
        # Paddle prints flags that differ from their defaults, which it set itself.
        with contextlib.redirect_stderr(io.StringIO()):
            paddle.distributed.init_parallel_env()

    def sum(self, array: np.ndarray) -> np.ndarray:
        tensor = to_tensor(array, self._native_device).clone()
        self.all_reduce(tensor)
        return to_numpy(tensor)

    def all_reduce(self, tensor: paddle.Tensor) -> None:
        """Sum over processes, in place."""
        try:
            paddle.distributed.all_reduce(tensor)
        except (RuntimeError, OSError) as error:
            raise peer_lost(self, error) from None


def init_process_group(device: str) -> ProcessGroup:
    """Join the process group of the launcher; return the trivial group for a single process."""
    ranks = launchers.LAUNCHERS[NAME].ranks()
    return SINGLE_PROCESS if ranks is None else Processes(ranks, device)
