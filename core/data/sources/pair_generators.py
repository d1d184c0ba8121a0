"""Generated pairs of a source and a target text: addition, reversal, dates.

Every source occurs once. All are drawn by `core.rng.generator`: a seed gives the same data everywhere.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator

import numpy as np

from core.errors import UserError
from core.rng import generator
from core.spec.data import Pairs

Pair = tuple[str, str]

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
FIRST_DAY, LAST_DAY = datetime.date(1950, 1, 1), datetime.date(2049, 12, 31)
"""Range of the dates, in which two digits identify a year."""
CHUNK = 4096
BEYOND_EACH = 50
"""Reversals of each length beyond the trained ones."""


def generate(data: Pairs) -> list[Pair]:
    """Return `data.examples` pairs of a generated task with different sources.

    Raises UserError if there are not as many.
    """
    draw, number = TASKS[data.source](data)
    if data.examples > number:
        raise UserError(f"data.examples {data.examples}: only {number:,} examples differ: lower `data.examples`")
    rng, found = generator(data.seed, "pairs", data.source), {}
    while len(found) < data.examples:
        for key, *pair in draw(rng, CHUNK):
            found.setdefault(key, tuple(pair))
    return list(found.values())[: data.examples]


def generate_beyond(data: Pairs) -> list[Pair]:
    """Return reversals longer than those of `generate`: as many of each length, up to `data.beyond`.

    Empty for another task, and if `data.beyond` is not larger than `data.longest`.
    """
    if data.source != "reverse":
        return []
    rng = generator(data.seed, "pairs", "beyond")
    lengths = np.repeat(np.arange(data.longest + 1, data.beyond + 1), BEYOND_EACH)
    return [(source, target) for _, source, target in _reversals(rng, lengths)]


Drawn = Iterator[tuple[str, str, str]]
"""Triples of a key, by which pairs differ, source and target."""
Draw = Callable[[np.random.Generator, int], Drawn]


def _addition(data: Pairs) -> tuple[Draw, int]:
    """Sums of two numbers of 1 to n digits; a + b and b + a count as one, as in Keras' addition_rnn."""

    def draw(rng: np.random.Generator, size: int) -> Drawn:
        digits = rng.integers(1, data.digits + 1, (size, 2))
        for a, b in rng.integers(0, 10**digits).tolist():
            yield f"{min(a, b)}+{max(a, b)}", f"{a}+{b}", str(a + b)

    limit = 10**data.digits
    return draw, limit * (limit + 1) // 2


def _reverse(data: Pairs) -> tuple[Draw, int]:
    """Sequences of 1 to `data.longest` digits, whose target is the reversed sequence; all lengths are as likely."""

    def draw(rng: np.random.Generator, size: int) -> Drawn:
        return _reversals(rng, rng.integers(1, data.longest + 1, size))

    # Half of the longest sequences at most: a rare one would take long to draw.
    return draw, sum(10**length for length in range(1, data.longest)) + 10**data.longest // 2


def _reversals(rng: np.random.Generator, lengths: np.ndarray) -> Drawn:
    for length in lengths.tolist():
        text = "".join(map(str, rng.integers(0, 10, length).tolist()))
        yield text, text, text[::-1]


def _dates(data: Pairs) -> tuple[Draw, int]:
    """Dates in one of several notations; the target is in ISO 8601."""
    days = (LAST_DAY - FIRST_DAY).days + 1

    def draw(rng: np.random.Generator, size: int) -> Drawn:
        forms = rng.integers(0, len(NOTATIONS), size).tolist()
        for offset, form in zip(rng.integers(0, days, size).tolist(), forms, strict=True):
            day = FIRST_DAY + datetime.timedelta(offset)
            source = NOTATIONS[form](day, MONTHS[day.month - 1])
            yield source, source, day.isoformat()

    return draw, days * len(NOTATIONS) // 2


NOTATIONS: tuple[Callable[[datetime.date, str], str], ...] = (
    lambda day, month: f"{day.day} {month} {day.year}",
    lambda day, month: f"{month} {day.day}, {day.year}",
    lambda day, month: f"{day.day} {month[:3]} {day.year % 100:02}",
    lambda day, month: f"{month[:3]} {day.day} '{day.year % 100:02}",
    lambda day, month: f"{day.day:02}.{day.month:02}.{day.year % 100:02}",
    lambda day, month: f"{day.month}/{day.day}/{day.year}",
)
"""Notations of a date: 3 May 1979; May 3, 1979; 3 May 79; May 3 '79; 03.05.79; 5/3/1979."""

TASKS: dict[str, Callable[[Pairs], tuple[Draw, int]]] = {"addition": _addition, "reverse": _reverse, "dates": _dates}
"""For each generated task its draws, and the number of examples that can be drawn."""
