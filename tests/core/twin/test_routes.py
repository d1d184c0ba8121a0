"""Routes of tensors in nested arguments."""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from core.twin import routes
from core.twin.inputs import dropout_uniform, loss_weights


def is_array(value) -> bool:
    return isinstance(value, np.ndarray)


def test_nested_arguments_come_back_from_their_routes(rng):
    one, two, three, four = (rng.standard_normal(2) for _ in range(4))
    value = (one, None, {"b": (two, three), "a": four}, 3, "text")
    found = routes.flatten(value, is_array)
    assert list(found) == ["0", "2.a", "2.b.0", "2.b.1"]
    args, kwargs = routes.nest({**found, "extra.h": one})
    assert args[0] is one and args[1] is None and args[2]["b"] == (two, three) and args[2]["a"] is four
    assert kwargs == {"extra": {"h": one}}
    assert list(routes.flatten(one, is_array)) == [""]


def test_arguments_are_named_by_position():
    def function(ids, lengths=None, *, mask=None, **rest):
        return ids, lengths, mask, rest

    found = routes.arguments(function, (1,), {"lengths": 2, "mask": 3, "other": 4})
    assert found == {"0": 1, "1": 2, "mask": 3, "other": 4}
    assert routes.arguments(function, (), {"lengths": 2, "ids": 1}) == {"1": 2, "0": 1}


def test_replace_keeps_the_kinds_of_containers():
    point = namedtuple("point", "x y")
    value = {"a": point(1, [2, 3]), "b": (4,)}
    assert routes.replace(value, lambda own: own * 2) == {"a": point(2, [4, 6]), "b": (8,)}
    assert isinstance(routes.replace(value, lambda own: own)["a"], point)


def test_the_user_s_line_is_the_innermost_outside_the_folders():
    assert routes.user_line(()).startswith("routes.py:") or routes.user_line(()).startswith("test_routes.py:")
    assert not routes.user_line(("/",))


def test_draws_follow_the_axes(rng):
    seed = int(rng.integers(1000))
    for drawn in (dropout_uniform, loss_weights):
        straight = drawn((4, 9, 4, 5), seed, 2)
        assert (straight.transpose(1, 0, 2, 3) == drawn((9, 4, 4, 5), seed, 2)).all()
        assert not (straight == drawn((4, 9, 4, 5), seed, 3)).any()
