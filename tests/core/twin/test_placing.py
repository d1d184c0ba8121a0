"""Parameters of two hand-made models are matched, and what is ambiguous is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.errors import UserError
from core.twin.kinds import LAYER_NORM, OTHER
from core.twin.placing import MOST_PERMUTATIONS, permutations, place
from core.twin.splitting import fused, split_parameters
from core.twin.values import judge_values
from tests.core.twin.handmade import Layer, activation, chain, linear


@pytest.fixture
def models(rng):
    """A network of three layers of equal shapes and one of its own, under other names in Paddle."""
    first = [linear("one"), linear("two"), linear("three"), linear("out", 2)]
    second = [linear("last", 2), linear("c"), linear("a"), linear("b")]
    return chain("torch", first, rng), chain("paddle", second, rng, run=("a", "b", "c", "last"))


def test_equal_signatures_are_matched_in_order_of_execution_and_told(models):
    found = place(*models)
    weights = {name.removesuffix(".weight"): other for name, other in found.names.items() if name.endswith("weight")}
    assert weights == {"one": "a.weight", "two": "b.weight", "three": "c.weight", "out": "last.weight"}
    assert found.how["out.weight"] == "shape" and found.how["two.bias"] == "order"
    assert found.ambiguous == (("one", "two", "three"),)
    assert not any(found.left.values())


def test_a_mapping_decides(models):
    found = place(*models, {"one": "c"})
    assert found.names["one.weight"] == "c.weight" and found.names["one.bias"] == "c.bias"
    assert found.how["one.weight"] == "map"
    assert found.names["two.weight"] == "a.weight"


@pytest.mark.parametrize(("one", "two", "what"), [("none", "a", "none"), ("one", "z", "z"), ("out", "a", "shapes")])
def test_a_wrong_mapping_is_refused(models, one, two, what):
    with pytest.raises(UserError, match=what):
        place(*models, {one: two})


def test_equal_names_decide_even_if_they_run_in_another_order(rng):
    layers = [linear("first"), linear("second")]
    found = place(chain("torch", layers, rng), chain("paddle", layers, rng, run=("second", "first")))
    assert found.names["first.weight"] == "first.weight" and not found.ambiguous


def test_numbers_of_unequal_lists_are_no_names(rng):
    first = chain("torch", [linear("net.0"), activation("net.1"), linear("net.2"), linear("net.4")], rng)
    second = chain("paddle", [linear("net.0"), linear("net.1"), linear("net.2")], rng)
    found = place(first, second)
    assert [found.names[f"net.{at}.weight"] for at in (0, 2, 4)] == [f"net.{at}.weight" for at in (0, 1, 2)]


def test_similar_names_come_before_the_order(rng):
    first = chain("torch", [linear("layer.q"), linear("layer.k"), linear("layer.v")], rng)
    second = chain("paddle", [linear("block.v_proj"), linear("block.q_proj"), linear("block.k_proj")], rng)
    found = place(first, second)
    assert {name[6]: other[6] for name, other in found.names.items()} == {"q": "q", "k": "k", "v": "v"}
    assert found.how["layer.q.weight"] == "name" and not found.ambiguous


def test_a_layer_by_hand_is_matched_by_roles_that_mean_the_same(rng):
    sizes = {"weight": (4,), "bias": (4,)}
    first = chain("torch", [Layer("norm", LAYER_NORM, sizes)], rng)
    second = chain("paddle", [Layer("own", OTHER, {"shift": (4,), "gain": (4,)})], rng)
    assert place(first, second).names == {"norm.weight": "own.gain", "norm.bias": "own.shift"}


def test_what_one_model_lacks_is_left(rng):
    first = chain("torch", [linear("one"), linear("two", 3)], rng)
    without = Layer("two", "linear", {"weight": (3, 4)}, {"bias": False}, 3)
    found = place(first, chain("paddle", [linear("one"), without], rng))
    assert found.left == {"torch": ("two.bias",), "paddle": ()}


def test_permutations_list_every_other_order_once(models):
    base = place(*models)
    found = list(permutations(base, *models))
    orders = [tuple(own.names[f"{path}.weight"] for path in ("one", "two", "three")) for own in found]
    assert len(set(orders)) == len(orders) == 5 and ("a.weight", "b.weight", "c.weight") not in orders
    for own in found:
        assert sorted(own.names.values()) == sorted(base.names.values())
        assert own.names["one.weight"].rpartition(".")[0] == own.names["one.bias"].rpartition(".")[0]
        assert own.how["out.weight"] == "shape"


def test_permutations_are_bounded(rng):
    first = chain("torch", [linear(f"left{at}") for at in range(20)], rng)
    second = chain("paddle", [linear(f"right{at}x") for at in range(20)], rng)
    assert len(list(permutations(place(first, second), first, second))) == MOST_PERMUTATIONS


def test_a_tied_parameter_needs_no_partner(rng):
    first = chain("torch", [Layer("embed", "embedding", {"weight": (7, 4)}), linear("mid"), linear("out", 7)], rng)
    tied = tuple(replace(own, tied_to="embed.weight") if own.name == "out.weight" else own for own in first.parameters)
    first = replace(first, parameters=tied)
    second = chain("paddle", [Layer("table", "embedding", {"weight": (7, 4)}), linear("mid")], rng)
    assert place(first, second).left == {"torch": ("out.bias",), "paddle": ()}


def test_fused_projections_count_as_three(rng):
    first = chain("torch", [linear("qkv", 12), linear("proj")], rng)
    sizes = {
        f"{part}.{role}": shape
        for part in ("q", "k", "v", "out")
        for role, shape in (("weight", (4, 4)), ("bias", (4,)))
    }
    second = chain("paddle", [Layer("attend", "attention", sizes)], rng)
    plan, none = fused(first, second)
    assert plan == {"qkv.weight": 4, "qkv.bias": 4} and not none
    split = replace(first, parameters=split_parameters(first.parameters, plan))
    found = place(split, second)
    assert found.names["qkv.k.weight"] == "attend.k.weight" and found.names["proj.bias"] == "attend.out.bias"
    whole = first.parameter("qkv.weight").values
    assert np.array_equal(split.parameter("qkv.v.weight").values, whole[8:])


def lstm(rng, framework, values=None):
    sizes = {"weight_ih_l0": (12, 3), "weight_hh_l0": (12, 3), "bias_ih_l0": (12,), "bias_hh_l0": (12,)}
    own = chain(framework, [Layer("lstm", "recurrent", sizes, {"cell": "lstm"})], rng)
    if values is None:
        return own
    return replace(own, parameters=tuple(replace(one, values=values[one.name]) for one in own.parameters))


def gates(array):
    i, f, g, o = np.split(array, 4)
    return np.concatenate([i, o, f, g])


CHANGES = {
    "gates in the order i o f g": (gates, "gates"),
    "transposed": (lambda array: array.T, "transposed"),
    "rows are shifted by 1": (lambda array: np.roll(array, 1, 0), None),
    "times 2": (lambda array: 2 * array, None),
    "different values": (lambda array: array**2 + 1, None),
}


@pytest.mark.parametrize("words", CHANGES)
def test_values_that_a_user_converted_are_explained(rng, words):
    change, how = CHANGES[words]
    first = lstm(rng, "torch")
    values = {own.name: own.values for own in first.parameters}
    if words == "transposed":
        values = {name: own.reshape(6, 6) if own.ndim == 2 else own for name, own in values.items()}
        first = lstm(rng, "torch", values)
    converted = {**values, "lstm.weight_hh_l0": change(values["lstm.weight_hh_l0"])}
    second = lstm(rng, "paddle", converted)
    pairing = place(first, second)
    found = judge_values(first, second, pairing)
    assert found.cause is not None and words in found.cause.sentence
    assert found.cause.paths == {"torch": "lstm", "paddle": "lstm"}
    assert found.how == ({"lstm.weight_hh_l0": how} if how else {})
    assert judge_values(first, lstm(rng, "paddle", values), pairing).cause is None


def test_values_of_another_parameter_are_named(rng):
    first = lstm(rng, "torch")
    values = {own.name: own.values for own in first.parameters}
    values["lstm.bias_ih_l0"], values["lstm.bias_hh_l0"] = values["lstm.bias_hh_l0"], values["lstm.bias_ih_l0"]
    second = lstm(rng, "paddle", values)
    found = judge_values(first, second, place(first, second))
    assert found.cause is not None and "the values of `lstm.bias_hh_l0`" in found.cause.sentence
