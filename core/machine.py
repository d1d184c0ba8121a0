"""What a run's record says of the machine, on any system."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterable
from pathlib import Path


def usable_cores() -> int:
    """Cores that this process may use; fewer than the machine has, in a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def description() -> dict[str, object]:
    """For the record: Python, system, cores."""
    return {"python": platform.python_version(), "system": platform.platform(), "cores": usable_cores()}


def peak_memory_mb() -> int | None:
    """Most memory that this process ever held, in MB; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows has no such module
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))  # bytes there, kilobytes elsewhere


def processor() -> str:
    """The processor's name, as far as the system tells."""
    return _cpu_field("model name") or platform.processor() or platform.machine()


def processor_vendor() -> str:
    """`GenuineIntel`, `AuthenticAMD`, ...; empty where the system does not tell."""
    return _cpu_field("vendor_id")


def _cpu_field(name: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


class OtherWork:
    """How many of the cores that this process may use were kept busy by others since this was made.

    What the cores did, stolen time of a virtual machine included, less what this process and `children` did.
    """

    def __init__(self, children: Iterable[int]) -> None:
        self._children = tuple(children)
        self._start = self._reading()

    def cores(self) -> float | None:
        """None where the system does not tell. Its clock ticks a hundred times a second: a tick per core is let go."""
        end = self._reading()
        if self._start is None or end is None:
            return None
        (before, others_before), (now, others_now) = self._start, end
        slack = usable_cores() / os.sysconf("SC_CLK_TCK")
        return max(others_now - others_before - slack, 0.0) / max(now - before, 1e-9)

    def _reading(self) -> tuple[float, float] | None:
        """Now, and the processor seconds of others so far."""
        try:
            tick = os.sysconf("SC_CLK_TCK")
            own = time.process_time()
            for child in self._children:
                # The name, in brackets, may hold blanks; user and system time are the 14th and 15th fields.
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
