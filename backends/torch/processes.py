"""Process group of `torchrun`, with gloo (CPU) or NCCL (GPUs)."""

from __future__ import annotations

import atexit
import time
from contextlib import suppress

import numpy as np

from backends import launchers
from backends.torch.framework import torch
from backends.torch.runtime import NAME, native_device, to_numpy, to_tensor
from core.engine.processes import SINGLE_PROCESS, ProcessGroup, peer_lost

LET_GO = 0.1
"""Seconds to wait for threads to release tensors."""


class Processes:
    """See `core.engine.processes.ProcessGroup`."""

    def __init__(self, ranks: tuple[int, int, int], device: str) -> None:
        self.rank, self.size, self.local_rank = ranks
        self._native_device = native_device(device)
        if device == "cpu":
            torch.distributed.init_process_group("gloo")
        else:
            torch.cuda.set_device(self._native_device)
            torch.distributed.init_process_group("nccl", device_id=self._native_device)

        def leave() -> None:
            # At interpreter exit a process aborts if the others have exited, so all leave together. It also aborts if
            # its threads still hold tensors, which they release through the interpreter, so they get time for that.
            with suppress(RuntimeError):  # another process has ended already
                torch.distributed.barrier()
            time.sleep(LET_GO)
            torch.distributed.destroy_process_group()
            time.sleep(LET_GO)

        atexit.register(leave)

    def sum(self, array: np.ndarray) -> np.ndarray:
        tensor = to_tensor(array, self._native_device).clone()
        self.all_reduce(tensor)
        return to_numpy(tensor)

    def all_reduce(self, tensor: torch.Tensor) -> None:
        """Sum over processes, in place."""
        try:
            torch.distributed.all_reduce(tensor)
        except RuntimeError as error:
            raise peer_lost(self, error) from None


def init_process_group(device: str) -> ProcessGroup:
    """Join the process group of the launcher; return the trivial group for a single process."""
    ranks = launchers.LAUNCHERS[NAME].ranks()
    return SINGLE_PROCESS if ranks is None else Processes(ranks, device)
