"""Statistics of accuracies: the Wilson interval of one, and McNemar's exact test of two."""

from __future__ import annotations

import math

Z = 1.959963984540054
"""Quantile of the normal distribution for a two-sided interval of 95 %."""


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a proportion of `total` independent trials (Wilson 1927).

    Raises ValueError without trials.
    """
    if total < 1:
        raise ValueError(f"expected at least one trial, got {total}")
    spread = Z * math.sqrt(right * (total - right) / total + Z**2 / 4)
    middle, whole = right + Z**2 / 2, total + Z**2
    return max((middle - spread) / whole, 0.0), min((middle + spread) / whole, 1.0)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test, which is binomial.

    Of two models tested on the same texts, each count is that of the texts that only one of them classifies correctly.
    """
    total, low = only_first + only_second, min(only_first, only_second)
    terms = (math.exp(_log_choose(total, k) - total * math.log(2)) for k in range(low + 1))
    return min(1.0, 2 * math.fsum(terms))


def _log_choose(total: int, chosen: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)
