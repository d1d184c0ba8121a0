"""Description of the machine for the record of a run, on any operating system."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path


def usable_cores() -> int:
    """Return the number of cores that this process may use (in a container, fewer than exist)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def description() -> dict[str, object]:
    """Return Python version, system and number of cores."""
    return {"python": platform.python_version(), "system": platform.platform(), "cores": usable_cores()}


def peak_memory_mb() -> int | None:
    """Return the peak memory of this process in MB, None if the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows has no such module
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))  # bytes there, kilobytes elsewhere


def processor() -> str:
    """Return the name of the processor, as reported by the system."""
    return _cpu_field("model name") or platform.processor() or platform.machine()


def processor_vendor() -> str:
    """Return `GenuineIntel`, `AuthenticAMD`, ..., "" if the system does not report it."""
    return _cpu_field("vendor_id")


def _cpu_field(name: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
