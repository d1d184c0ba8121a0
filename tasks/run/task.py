"""What distinguishes the programs of the text tasks."""

from __future__ import annotations

from dataclasses import dataclass

CROSS_VALIDATE = "--cross-validate"
"""Trains and tests every fold of a classifier's texts."""


@dataclass(frozen=True)
class Task:
    """Describe one task."""

    program: str
    """Module name, after `python -m`."""
    example: str
    """Sample text for a finished run; "" if no text suits every data set."""

    @property
    def name(self) -> str:
        return self.program.rpartition(".")[2]
