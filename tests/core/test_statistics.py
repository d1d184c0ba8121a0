"""The Wilson interval and McNemar's exact test, against values computed by hand and by counting."""

from __future__ import annotations

from itertools import product

import pytest

from core.statistics import mcnemar, wilson_interval


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [
        # z^2 = 3.841459: (5 + 1.920729 -+ 1.959964 sqrt(2.5 + 0.960365)) / 13.841459
        (5, 10, 0.236593, 0.763407),
        # All wrong: 0 to z^2 / (n + z^2), whose normal interval would be empty.
        (0, 10, 0.0, 0.277533),
        (10, 10, 0.722467, 1.0),
        # (8930 + 1.920729 -+ 1.959964 sqrt(8930 * 1070 / 10000 + 0.960365)) / 10003.841459
        (8930, 10000, 0.886790, 0.898908),
    ],
)
def test_wilson_interval_equals_values_by_hand(right, total, low, high):
    found = wilson_interval(right, total)
    assert found == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))


def test_wilson_interval_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="at least one trial"):
        wilson_interval(0, 0)


@pytest.mark.parametrize("pair", [(0, 0), (1, 5), (5, 1), (3, 3), (2, 9)])
def test_mcnemar_counts_the_outcomes_that_are_no_less_uneven(pair):
    """Under the null hypothesis, each discordant text is that of either model like a throw of a coin."""
    total, low = sum(pair), min(pair)
    throws = [sum(own) for own in product((0, 1), repeat=total)]
    uneven = sum(min(heads, total - heads) <= low for heads in throws) / len(throws)
    assert mcnemar(*pair) == pytest.approx(uneven)


def test_mcnemar_of_thousands_of_texts_neither_overflows_nor_ends_at_zero():
    assert 1e-80 < mcnemar(312, 897) < 1e-60
    assert mcnemar(5000, 5000) == 1.0
