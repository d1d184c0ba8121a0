"""Series of `tasks.speed`: groups of rows, such as all settings of a framework, whose fastest one counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.benchmark.timing import LayerRow, fastest
from tasks.speed.environments import OWN

LONG_SECONDS = 0.3
"""Rows whose round takes less are all timed."""
HOPELESS = 1.5
"""A row that takes this many times as long as the fastest of its series, when it warms up, is not its fastest."""


@dataclass(frozen=True)
class Series:
    """A group of rows, represented by its fastest one."""

    name: str
    backend: str
    implementations: tuple[str, ...]
    environment: str | None = None
    """None for all, so that each framework has its best setting."""

    def has(self, row: LayerRow) -> bool:
        """Return whether a row belongs to the series."""
        return (
            row.backend == self.backend
            and row.implementation in self.implementations
            and self.environment in (None, row.environment)
        )

    def row(self, rows: Iterable[LayerRow], case: tuple[str, str, bool]) -> LayerRow | None:
        """Return the fastest row of a case; None if none was timed."""
        return fastest(row for row in rows if row.case == case and self.has(row))


RIVALS = (
    Series("torch padded", "torch", ("padded",)),
    Series("torch packed", "torch", ("packed",)),
    Series("torch builtin", "torch", ("builtin",)),
    Series("Paddle installed", "paddle", OWN, "paddle, as installed"),
    Series("Paddle best", "paddle", OWN),
)
"""Series that `fast` is compared with in both frameworks, besides the framework's own loop."""
DRAWN = (
    Series("torch fast", "torch", ("fast",)),
    Series("Paddle fast", "paddle", ("fast",)),
    *RIVALS,
    Series("torch loop", "torch", ("loop",)),
    Series("Paddle loop", "paddle", ("loop",)),
)


def contenders(rows: Sequence[LayerRow]) -> list[LayerRow]:
    """Return the rows of a case without long ones that cannot be the fastest of a series, as their cost shows."""
    fastest_cost = {series: min((row.cost for row in rows if series.has(row)), default=0.0) for series in DRAWN}

    def counts(row: LayerRow) -> bool:
        own = [cost for series, cost in fastest_cost.items() if series.has(row)]
        return row.cost < LONG_SECONDS or not own or any(row.cost <= HOPELESS * cost for cost in own)

    return [row for row in rows if counts(row)]
