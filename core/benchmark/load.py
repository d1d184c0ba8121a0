"""CPU load by other processes during a measurement."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from core.engine.machine import usable_cores


class OtherWork:
    """Number of usable cores that other processes kept busy since the object was created.

    Computed as the busy time of the cores, including stolen time of a virtual machine, minus the CPU time of this
    process and of `children`.
    """

    def __init__(self, children: Iterable[int]) -> None:
        self._children = tuple(children)
        self._start = self._reading()

    def cores(self) -> float | None:
        """Return the number of cores, None if unknown. One clock tick (10 ms) per core is tolerated."""
        end = self._reading()
        if self._start is None or end is None:
            return None
        (before, others_before), (now, others_now) = self._start, end
        slack = usable_cores() / os.sysconf("SC_CLK_TCK")
        return max(others_now - others_before - slack, 0.0) / max(now - before, 1e-9)

    def _reading(self) -> tuple[float, float] | None:
        """Return the time, and the CPU seconds of other processes so far; None if unknown."""
        try:
            tick = os.sysconf("SC_CLK_TCK")
            own = time.process_time()
            for child in self._children:
                # The name, in parentheses, may contain spaces; user and system time are fields 14 and 15.
                fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                own += (int(fields[11]) + int(fields[12])) / tick
            names = {f"cpu{core}" for core in os.sched_getaffinity(0)}
            busy = 0
            for line in Path("/proc/stat").read_text().splitlines():
                name, *counts = line.split()
                if name in names:
                    user, nice, system, _, _, interrupts, soft, stolen, *_ = map(int, counts)
                    busy += user + nice + system + interrupts + soft + stolen
            return time.perf_counter(), busy / tick - own
        except (OSError, ValueError, AttributeError, IndexError):
            return None
