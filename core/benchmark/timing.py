"""Statistics of timings: medians and quartiles, shares of the machine's peak, ratios of interleaved rows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Median and quartiles (`low`, `high`) of several timings."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Summary:
        """Summarize values. Raises ValueError if there are none."""
        values = list(values)
        if not values:
            raise ValueError("no values to summarize")
        low, median, high = np.percentile(values, [25, 50, 75]).tolist()
        return cls(median, low, high, len(values))


@dataclass(kw_only=True)
class Row:
    """A timed implementation in one environment."""

    environment: str
    backend: str
    implementation: str
    ran: str = ""
    """The implementation that its worker reports."""
    discard: int = 0
    """Untimed calls before each timing."""
    timings: list[dict] = field(default_factory=list)
    """One per round: its number `round`, the `seconds` per call, and further measurements.

    `peak_before` and `peak_after` are the FLOP/s of the machine's matrix product just before and after it.
    """

    @property
    def seconds(self) -> Summary:
        return self.summary(lambda timing: timing["seconds"])

    def summary(self, value: Callable[[dict], float]) -> Summary:
        """Summarize a value that is computed from each timing."""
        return Summary.of(map(value, self.timings))

    def share_of_peak(self, flops: Callable[[dict], float]) -> Summary:
        """Summarize the share of the peak, computed per timing, since clock rates can change by half within a second.

        `flops` returns the operations of a timing.
        """
        return self.summary(
            lambda timing: flops(timing) / timing["seconds"] / ((timing["peak_before"] + timing["peak_after"]) / 2)
        )


@dataclass(kw_only=True)
class LayerRow(Row):
    """Recurrent layers of one shape and cell, in one pass."""

    shape: str
    cell: str
    training: bool
    flops: float
    """Operations per call, for real tokens only."""
    calls: int = 1
    """Calls per timing: a call of microseconds is too short to time alone."""
    rounds: int = 1
    """Rounds that time the row; slow rows skip some."""
    cost: float = 0.0
    """Expected seconds of a round of the row, with untimed calls and the measurement of the peak."""

    @property
    def case(self) -> tuple[str, str, bool]:
        """Shape, cell and pass: rows of the same case are compared."""
        return self.shape, self.cell, self.training

    @property
    def flops_per_second(self) -> float:
        return self.flops / self.seconds.median

    @property
    def share(self) -> Summary:
        return self.share_of_peak(lambda timing: self.flops)

    def tree(self) -> dict:
        """Return the row as JSON."""
        figures = {"seconds": asdict(self.seconds), "share_of_peak": asdict(self.share)}
        return {**asdict(self), **figures, "flops_per_second": self.flops_per_second}


@dataclass(kw_only=True)
class StepRow(Row):
    """Training steps of a recipe.

    Each timing has `tokens`, `flops` (`core/benchmark/step_flops.py`), and the seconds of each part in `parts`.
    """

    recipe: str

    @property
    def tokens_per_second(self) -> Summary:
        return self.summary(lambda timing: timing["tokens"] / timing["seconds"])

    @property
    def flops_per_second(self) -> Summary:
        return self.summary(lambda timing: timing["flops"] / timing["seconds"])

    @property
    def share(self) -> Summary:
        return self.share_of_peak(lambda timing: timing["flops"])

    @property
    def parts(self) -> dict[str, dict[str, Summary]]:
        """`seconds` of each part, and its `share` of the step."""
        return {
            part: {
                "seconds": self.summary(lambda timing, part=part: timing["parts"][part]),
                "share": self.summary(lambda timing, part=part: timing["parts"][part] / timing["seconds"]),
            }
            for part in self.timings[0]["parts"]
        }

    def tree(self) -> dict:
        """Return the row as JSON."""
        figures = {"seconds": asdict(self.seconds), "tokens_per_second": asdict(self.tokens_per_second)}
        figures |= {"flops_per_second": asdict(self.flops_per_second), "share_of_peak": asdict(self.share)}
        parts = {part: {name: asdict(one) for name, one in found.items()} for part, found in self.parts.items()}
        return {**asdict(self), **figures, "parts": parts}


def ratios(row: Row, base: Row) -> Summary:
    """Summarize the ratio of a row's seconds to those of `base`, over their common rounds."""
    seconds = {timing["round"]: timing["seconds"] for timing in base.timings}
    return Summary.of(
        timing["seconds"] / seconds[timing["round"]] for timing in row.timings if timing["round"] in seconds
    )


def fastest(rows: Iterable[LayerRow]) -> LayerRow | None:
    """Return the row with the lowest median; None if there are no rows."""
    return min(rows, key=lambda row: row.seconds.median, default=None)


def calls_for(seconds: float, least: float) -> int:
    """Return how many calls of `seconds` each take at least `least` seconds in total, at most 10,000."""
    return max(1, min(10_000, math.ceil(least / max(seconds, 1e-9))))


def rounds_for(seconds: float, rounds: int, budget: float) -> int:
    """Return the number of rounds that fit in a row's `budget`, at least two."""
    return min(rounds, max(2, int(budget / seconds)))


def fit_rounds(rows: Sequence[LayerRow], seconds: float) -> None:
    """Lower the rows' rounds until all fit in `seconds`, those of the most expensive row first, to two at least."""
    left = seconds - sum(row.rounds * row.cost for row in rows)
    while left < 0 and (reducible := [row for row in rows if row.rounds > 2]):
        most = max(reducible, key=lambda row: row.rounds * row.cost)
        most.rounds -= 1
        left += most.cost


def takes_part(round: int, own: int, rounds: int) -> bool:
    """Return whether this is one of a row's `own` rounds, which are evenly spread."""
    return round * own % rounds < own


class Stopwatch:
    """Seconds by part. If parts are nested, time counts only for the innermost."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._credit()
        self._open.append(name)
        try:
            yield
        finally:
            self._credit()
            self._open.pop()

    def _credit(self) -> None:
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now
