"""Running variances: PyTorch divides by n - 1, Paddle by n, and a channel may have no variance at all."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from core.twin.buffers import _biased

NAME = "bn.running_var"


def sides(rng, count: int, factor: float, channels: int = 4, dead: int = 2):
    """Return both recordings and parameters after a step over `count` values; `dead` channels have no variance.

    `factor` multiplies the variance that PyTorch should have.
    """
    old, variance = rng.uniform(0.5, 2.0, channels), rng.uniform(1.0, 3.0, channels)
    variance[:dead] = 0.0
    keep = float(np.float32(0.9))  # in float64 as Paddle rounds it
    new = keep * old + (1 - keep) * variance * factor * count / (count - 1), keep * old + (1 - keep) * variance
    module = SimpleNamespace(settings={"momentum": 0.1})
    found = [SimpleNamespace(after={NAME: own}, module=lambda name: module) for own in new]
    parameter = SimpleNamespace(name=NAME, role="bn.running_var", module="bn", values=old)
    return found[0], found[1], parameter, parameter


@pytest.mark.parametrize("dead", [0, 2, 3])
def test_the_divisor_is_seen_next_to_channels_without_variance(dead, rng):
    for count in (2, 5, 48, 700):
        assert _biased(*sides(rng, count, 1.0, dead=dead)), count


def test_another_variance_is_no_divisor(rng):
    for count in (5, 48, 700):
        for factor in (0.9, 1.003, 1.5):
            one, two, own, other = sides(rng, count, factor)
            ratio = factor * count / (count - 1)
            whole = ratio > 1 and abs(ratio / (ratio - 1) - round(ratio / (ratio - 1))) <= 2e-3 * ratio / (ratio - 1)
            assert _biased(one, two, own, other) <= whole, (count, factor)
    one, two, own, other = sides(rng, 48, 1.0, dead=0)
    one.after[NAME][0] += 0.01  # another statistic of one channel
    assert not _biased(one, two, own, other)
