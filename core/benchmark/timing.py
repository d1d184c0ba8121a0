"""Arithmetic of timings: medians and spread, shares of the machine's peak, ratios of rows timed in turn."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Median and quartiles of several timings of one thing."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Summary:
        """Raises ValueError if there is none."""
        values = list(values)
        if not values:
            raise ValueError("there is nothing to take a median of")
        low, median, high = np.percentile(values, [25, 50, 75]).tolist()
        return cls(median, low, high, len(values))


@dataclass(kw_only=True)
class Row:
    """One thing that is timed: an implementation in one environment."""

    environment: str
    backend: str
    implementation: str
    ran: str = ""
    """What its worker says that it ran."""
    discard: int = 0
    """Calls made before each timing and not counted."""
    timings: list[dict] = field(default_factory=list)
    """One a round: the number of the `round`, `seconds` per call, and what else was measured with them."""

    @property
    def seconds(self) -> Summary:
        return self.summary(lambda timing: timing["seconds"])

    def summary(self, value: Callable[[dict], float]) -> Summary:
        """Summarize a value that is computed from each timing."""
        return Summary.of(map(value, self.timings))


@dataclass(kw_only=True)
class LayerRow(Row):
    """Recurrent layers of one shape and cell, in one pass.

    Each timing has `peak_before` and `peak_after`: the machine's matrix product right before and after it, FLOP/s.
    """

    shape: str
    cell: str
    training: bool
    flops: float
    """Of one call, real tokens only."""
    calls: int = 1
    """Made for one timing: a call of microseconds cannot be timed alone."""
    rounds: int = 1
    """That it takes part in; a slow one sits some out."""

    @property
    def case(self) -> tuple[str, str, bool]:
        """Rows of one case compute the same, and are compared."""
        return self.shape, self.cell, self.training

    @property
    def flops_per_second(self) -> float:
        return self.flops / self.seconds.median

    @property
    def share(self) -> Summary:
        """Of the peak, each timing of its own: a machine's clock may change by half from one second to the next."""
        return self.summary(
            lambda timing: self.flops / timing["seconds"] / ((timing["peak_before"] + timing["peak_after"]) / 2)
        )

    def tree(self) -> dict:
        """Return all of it as JSON."""
        figures = {"seconds": asdict(self.seconds), "share_of_peak": asdict(self.share)}
        return {**asdict(self), **figures, "flops_per_second": self.flops_per_second}


@dataclass(kw_only=True)
class StepRow(Row):
    """Training steps of a recipe. Each timing has `tokens` and the seconds of each of the `parts` of a step."""

    recipe: str

    @property
    def tokens_per_second(self) -> Summary:
        return self.summary(lambda timing: timing["tokens"] / timing["seconds"])

    @property
    def parts(self) -> dict[str, dict[str, Summary]]:
        """The `seconds` of each part, and its `share` of the step."""
        return {
            part: {
                "seconds": self.summary(lambda timing, part=part: timing["parts"][part]),
                "share": self.summary(lambda timing, part=part: timing["parts"][part] / timing["seconds"]),
            }
            for part in self.timings[0]["parts"]
        }

    def tree(self) -> dict:
        """Return all of it as JSON."""
        figures = {"seconds": asdict(self.seconds), "tokens_per_second": asdict(self.tokens_per_second)}
        parts = {part: {name: asdict(one) for name, one in found.items()} for part, found in self.parts.items()}
        return {**asdict(self), **figures, "parts": parts}


def ratios(row: Row, base: Row) -> Summary:
    """How many times as long as `base` a row took, over the rounds that both were in."""
    seconds = {timing["round"]: timing["seconds"] for timing in base.timings}
    return Summary.of(
        timing["seconds"] / seconds[timing["round"]] for timing in row.timings if timing["round"] in seconds
    )


def fastest(rows: Iterable[LayerRow]) -> LayerRow | None:
    """The row of the lowest median; None of none."""
    return min(rows, key=lambda row: row.seconds.median, default=None)


def calls_for(seconds: float, least: float) -> int:
    """Calls of `seconds` each that together last at least so long."""
    return max(1, min(10_000, math.ceil(least / max(seconds, 1e-9))))


def rounds_for(seconds: float, rounds: int, budget: float) -> int:
    """Rounds that a row of so many seconds a call takes part in: all that fit in its budget, but no fewer than two."""
    return min(rounds, max(2, int(budget / seconds)))


def takes_part(round: int, own: int, rounds: int) -> bool:
    """Whether a row that is in `own` of all rounds is in this one: they are spread evenly, the first among them."""
    return round * own % rounds < own


class Stopwatch:
    """Seconds by part. Parts may lie within one another: every moment counts for the innermost alone."""

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
