"""Several processes: `torchrun` starts them, gloo (CPU) or NCCL (GPUs) adds their arrays."""

from __future__ import annotations

import atexit

import numpy as np

import backends
from backends.torch.framework import torch
from backends.torch.runtime import NAME, native_device, to_numpy, to_tensor
from core.world import ALONE, World, gone


class Processes:
    """See `core.world.World`."""

    def __init__(self, place: tuple[int, int, int], device: str) -> None:
        self.rank, self.size, self.local_rank = place
        self._native_device = native_device(device)
        if device == "cpu":
            torch.distributed.init_process_group("gloo")
        else:
            torch.cuda.set_device(self._native_device)
            torch.distributed.init_process_group("nccl", device_id=self._native_device)
        # Left to the interpreter's end, a process that the others have left aborts.
        atexit.register(torch.distributed.destroy_process_group)

    def sum(self, array: np.ndarray) -> np.ndarray:
        tensor = to_tensor(array, self._native_device).clone()
        self.add_up(tensor)
        return to_numpy(tensor)

    def add_up(self, tensor: torch.Tensor) -> None:
        """The sum over processes, in place."""
        try:
            torch.distributed.all_reduce(tensor)
        except RuntimeError as error:
            raise gone(self, error) from None


def join(device: str) -> World:
    """This process among those that its launcher started; they meet here."""
    place = backends.LAUNCHERS[NAME].place()
    return ALONE if place is None else Processes(place, device)
