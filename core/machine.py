"""What a run's record says of the machine, on any system."""

from __future__ import annotations

import os
import platform
import sys


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
