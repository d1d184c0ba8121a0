"""Calls of two hand-made models are aligned by their parameters, and by kind between these."""

from __future__ import annotations

from dataclasses import replace

from core.twin.alignment import align, inverted
from core.twin.placing import place
from core.twin.recording import Call
from tests.core.twin.handmade import Layer, activation, chain, linear, twin


def paths(pairs):
    return [tuple(None if call is None else call.path for call in pair) for pair in pairs]


def aligned(first, second):
    return align(first, second, place(first, second))


def test_calls_without_a_partner_are_kept_in_order(rng):
    first = chain("torch", [linear("a"), activation("relu"), linear("b", 3), linear("c", 2, 3)], rng)
    drop = Layer("drop", "dropout", {}, {"function": "bernoulli"})
    second = chain("paddle", [linear("x"), linear("y", 3), drop, linear("z", 2, 3)], rng)
    assert paths(aligned(first, second)) == [("a", "x"), ("relu", None), ("b", "y"), (None, "drop"), ("c", "z")]


def test_an_activation_is_aligned_with_its_own_function(rng):
    first = chain("torch", [linear("a"), activation("one", "relu"), activation("two", "tanh"), linear("b", 2)], rng)
    second = chain("paddle", [linear("a"), activation("other", "tanh"), linear("b", 2)], rng)
    assert paths(aligned(first, second))[1:3] == [("one", None), ("two", "other")]


def test_anchors_decide_between_equal_kinds(rng):
    layers = [linear("a"), activation("relu"), linear("b", 3)]
    first = chain("torch", layers, rng, run=("a", "relu", "b"))
    second = chain("paddle", layers, rng, run=("relu", "a", "b"))
    assert ("a", "a") in paths(aligned(first, second)) and ("b", "b") in paths(aligned(first, second))
    assert ("relu", "relu") not in paths(aligned(first, second))


def test_calls_in_another_order_are_aligned_and_named(rng):
    layers = [linear("a"), linear("b"), linear("c")]
    first = chain("torch", layers, rng)
    pairs = aligned(first, chain("paddle", layers, rng, run=("a", "c", "b")))
    assert sorted(paths(pairs)) == [("a", "a"), ("b", "b"), ("c", "c")]
    found = inverted(pairs)
    assert found is not None and [pair[0].path for pair in found] == ["b", "c"]
    assert inverted(aligned(first, twin(first))) is None


def test_a_layer_called_twice_is_aligned_call_by_call(rng):
    layers = [linear("a"), linear("b", 4)]
    run = ("a", "a", "b", "a")
    first, second = chain("torch", layers, rng, run=run), chain("paddle", layers, rng, run=run)
    pairs = aligned(first, second)
    assert [(one.number, two.number) for one, two in pairs] == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_a_layer_and_cells_in_a_loop_have_no_calls_in_common(rng):
    sizes = {"weight_ih_l0": (8, 4), "weight_hh_l0": (8, 4)}
    first = chain("torch", [Layer("lstm", "recurrent", sizes), linear("out", 2)], rng)
    cells = {role.removesuffix("_l0"): shape for role, shape in sizes.items()}
    second = chain("paddle", [Layer("cell", "cell", cells, size=3), linear("out", 2)], rng, run=("cell", "cell", "out"))
    assert paths(aligned(first, second)) == [("lstm", None), (None, "cell"), (None, "cell"), ("out", "out")]


def by_hand(rng, agree):
    """A leaf with four projections, and a module by hand with two layers that hold them."""
    sizes = {"q.weight": (4, 4), "out.weight": (4, 3)}
    first = chain("torch", [Layer("attend", "attention", sizes), linear("end", 2)], rng)
    inner = [Layer("own.q", "linear", {"weight": (4, 4)}), Layer("own.out", "linear", {"weight": (4, 3)})]
    second = chain("paddle", [*inner, linear("end", 2)], rng)
    result = first.calls[0].outputs if agree else {"": rng.standard_normal((5, 4))}
    calls = (*second.calls[:2], Call(2, "own", second.calls[0].inputs, result), replace(second.calls[2], number=3))
    return first, replace(second, calls=calls)


def test_a_module_by_hand_is_aligned_with_a_leaf_as_a_whole(rng):
    assert paths(aligned(*by_hand(rng, True))) == [("attend", "own"), ("end", "end")]


def test_a_module_by_hand_that_does_more_is_not_aligned(rng):
    assert ("attend", "own") not in paths(aligned(*by_hand(rng, False)))


def test_an_unknown_leaf_is_aligned_by_its_parameters(rng):
    sizes = {"weight": (4,), "bias": (4,)}
    first = chain("torch", [Layer("norm", "layer_norm", sizes)], rng)
    second = chain("paddle", [Layer("own", "other", {"gain": (4,), "shift": (4,)})], rng)
    assert paths(aligned(first, second)) == [("norm", "own")]
