"""What a run's record says of the machine, on any system."""

from __future__ import annotations

import os
import platform
import sys
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
