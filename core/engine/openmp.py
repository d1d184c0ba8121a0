"""Idle OpenMP threads of a framework. They wait by spinning, on the cores that our own threads need."""

from __future__ import annotations

from collections.abc import MutableMapping

SPINS = "10000"
"""Rounds that an idle thread of GCC's OpenMP spins before it sleeps; its own default is 300,000. Threads that sleep at
once make a framework's own layers two to three times slower (docs/speed.md)."""


def limit_spinning(environment: MutableMapping[str, str]) -> None:
    """Set `GOMP_SPINCOUNT`, unless the environment sets it or `OMP_WAIT_POLICY`.

    GCC's OpenMP reads it once, when the framework that brings it is imported.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", SPINS)
