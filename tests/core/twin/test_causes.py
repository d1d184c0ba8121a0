"""Causes of a difference: settings and their repair, arguments, and code between layers that is guessed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.twin.alignment import align
from core.twin.causes import Both
from core.twin.contract import Run
from core.twin.forward import compare_forward
from core.twin.functions import softmax
from core.twin.kinds import FRAMEWORK_NAMES
from core.twin.placing import place
from core.twin.settings import differing
from tests.core.twin.handmade import Layer, chain, linear, twin, with_calls, with_settings

NORM = {"shape": (4,), "epsilon": 1e-5, "weight": True}


class Repeating:
    """A side whose layer computes what its settings say."""

    def __init__(self, framework, base, formula):
        self.framework, self.base, self.formula = framework, base, formula
        self.asked = []

    def repeat(self, path, inputs, settings, how, lengths=None):
        self.asked.append(dict(settings))
        return self.formula(inputs, {**self.base, **settings}) if self.formula else None


def normalized(inputs, settings):
    x = inputs["0"]
    return {
        "": x / np.sqrt(np.square(x).mean(-1, keepdims=True) + settings["epsilon"]) * settings.get("shape", (1,))[0]
    }


def compare(settings, formula=normalized, kind="layer_norm", mode="evaluation"):
    """Compare a layer whose settings are a pair, with sides that compute it again."""
    rng = np.random.default_rng(0)
    frameworks = tuple(FRAMEWORK_NAMES)
    sides = [Repeating(own, values, formula) for own, values in zip(frameworks, settings, strict=True)]
    found = []
    start = chain("torch", [linear("before"), Layer("norm", kind, {"weight": (4,)}, settings[0])], rng, mode=mode)
    inputs = start.calls[1].inputs
    for own, values in zip((start, twin(start)), settings, strict=True):
        outputs = (formula or normalized)(inputs, values)
        call = {"inputs": inputs, "outputs": outputs}
        found.append(with_settings(with_calls(own, {1: call}), "norm", **values))
    both = Both(*found, tuple(sides), Run({}, mode))
    return compare_forward(both, align(*found, place(*found))), sides


def test_a_setting_that_repairs_the_layer_is_named_with_both_values():
    found, _ = compare((NORM, {**NORM, "epsilon": 1e-12}))
    cause = found.finding.cause
    assert cause.setting == "epsilon" and cause.repaired and cause.link == "normalization"
    assert "epsilon 1e-05 in PyTorch, 1e-12 in PaddlePaddle; with epsilon 1e-05 it agrees" in cause.sentence


def test_the_setting_that_repairs_is_told_from_one_that_does_not():
    found, sides = compare((NORM, {**NORM, "weight": False, "epsilon": 1e-3}))
    assert found.finding.cause.setting == "epsilon" and "weight" not in found.finding.cause.sentence
    assert sides[1].asked == [{"epsilon": 1e-5}]


def test_two_settings_are_tried_together():
    found, sides = compare((NORM, {**NORM, "epsilon": 1e-3, "shape": (8,)}))
    cause = found.finding.cause
    assert cause.repaired and "epsilon 1e-05" in cause.sentence and "shape (4) in PyTorch, (8)" in cause.sentence
    assert all(len(own) == 1 for own in sides[1].asked[:-1]) and len(sides[1].asked[-1]) == 2


def test_settings_are_named_without_a_repair(rng):
    first = chain("torch", [linear("a"), Layer("norm", "layer_norm", {"weight": (4,)}, NORM)], rng)
    second = with_settings(twin(first), "norm", epsilon=1e-3)
    second = with_calls(second, {1: {"outputs": {"": first.calls[1].outputs[""] + 1}}})
    cause = compare_forward(Both(first, second), align(first, second, place(first, second))).finding.cause
    assert cause.setting == "epsilon" and not cause.repaired and "agrees" not in cause.sentence


def test_a_layer_with_equal_settings_is_named_all_the_same():
    def other(inputs, values):
        return {"": inputs["0"] * values["hidden"]}

    found, _ = compare(({**NORM, "hidden": 2.0}, {**NORM, "hidden": 2.0}), other)
    assert found.finding.passed
    first = chain("torch", [linear("a"), linear("b", 2)], np.random.default_rng(0))
    second = with_calls(twin(first), {1: {"outputs": {"": first.calls[1].outputs[""] + 1}}})
    cause = compare_forward(Both(first, second), align(first, second, place(first, second))).finding.cause
    assert cause.place == "inside" and not cause.setting and "no setting that is known differs" in cause.sentence


def test_a_setting_without_an_effect_is_a_warning():
    def same(inputs, values):
        return {"": inputs["0"] * 2}

    found, _ = compare(({"rate": 0.1}, {"rate": 0.2}), same, "dropout")
    assert found.finding.passed and found.settings == (("rate", "`norm`: rate 0.1 in PyTorch, 0.2 in PaddlePaddle"),)


def test_constants_rounded_to_float32_are_a_note_and_widen_the_limit():
    def rounded(inputs, values):
        return normalized({"0": 3e-5 * inputs["0"]}, values)

    found, _ = compare((NORM, {**NORM, "epsilon": float(np.float32(1e-5))}), rounded)
    value = found.rows[1].outputs
    assert 1e-9 < value < 1e-7, value
    assert found.finding.passed and found.limit > 1e-9 and "rounds constants" in found.warnings[0]


def test_settings_are_equal_up_to_float32_and_the_count_of_axes():
    module = with_settings(twin(chain("torch", [Layer("a", "activation")], np.random.default_rng(0))), "a", axis=-1)
    one = module.module("a")
    call = replace(module.calls[0], inputs={"0": np.ones((2, 3))})
    assert not differing(one, replace(one, settings={"axis": 1}), call)
    assert differing(one, replace(one, settings={"axis": 0}), call) == {"axis": (-1, 0)}
    norm = replace(one, kind="layer_norm", settings={"epsilon": 1e-5})
    assert not differing(norm, replace(norm, settings={"epsilon": float(np.float32(1e-5))}))


def test_arguments_of_one_model_alone_are_named(rng):
    first = chain("torch", [linear("a"), Layer("rnn", "recurrent", {"w": (4, 4)})], rng)
    outputs = {"": first.calls[1].outputs[""] + 1.0}
    lengths = np.array([1, 2, 3, 4, 5])
    second = with_calls(twin(first), {1: {"outputs": outputs}})
    packed = with_calls(first, {1: {"lengths": lengths}})
    state = with_calls(second, {1: {"inputs": {**second.calls[1].inputs, "1": np.ones((5, 4))}, "outputs": outputs}})
    for one, two, words, place_ in (
        (packed, second, "lengths of the sequences are given in PyTorch only", "inside"),
        (first, state, "initial states are given in PaddlePaddle only", "between"),
    ):
        cause = compare_forward(Both(one, two), align(one, two, place(one, two))).finding.cause
        assert words in cause.sentence and cause.place == place_


BETWEEN = {
    "relu of the output of `a` in PyTorch, the output of `a` in PaddlePaddle": (
        lambda y: np.maximum(y, 0),
        lambda y: y,
    ),
    "softmax over axis 1 of the output of `a` in PyTorch, softmax over axis 0": (
        lambda y: softmax(y, 1),
        lambda y: softmax(y, 0),
    ),
    "the output of `a` times sqrt(5) in PyTorch": (lambda y: y * np.sqrt(5.0), lambda y: y),
    "order reversed along axis 0": (lambda y: y[::-1], lambda y: y),
    "sum of the output of `a` and input x in PyTorch": ("residual", lambda y: y),
    "tanh in PaddlePaddle only": (lambda y: y**3, lambda y: np.tanh(y**3)),
    "it is 3 times as large in PyTorch": (lambda y: 3 * y**3, lambda y: y**3),
    "some entries are zero in PaddlePaddle only": (lambda y: y**3, lambda y: y**3 * (np.arange(4) < 2)),
    "entries of axis 1 are in another order: [1, 0, 2, 3]": (lambda y: y**3, lambda y: y[:, [1, 0, 2, 3]] ** 3),
    "the output of `a` is added in PyTorch only": (lambda y: y**3 + y, lambda y: y**3),
    "the code between `a` and `b`": (lambda y: y**3, lambda y: y**5),
}


@pytest.mark.parametrize("words", BETWEEN)
def test_code_between_two_layers_is_guessed(rng, words):
    first = chain("torch", [linear("a"), linear("b", 2)], rng)
    here, there = BETWEEN[words]
    output = first.calls[0].outputs[""]
    arrays = [output + first.inputs["x"] if own == "residual" else own(output) for own in (here, there)]
    pair = [
        with_calls(own, {1: {"inputs": {"0": array}, "outputs": {"": own.calls[1].outputs[""] + at}}})
        for at, (own, array) in enumerate(zip((first, twin(first)), arrays, strict=True))
    ]
    cause = compare_forward(Both(*pair), align(*pair, place(*pair))).finding.cause
    assert cause.place == "between" and words in cause.sentence, cause.sentence


def test_means_within_lengths_are_told_from_plain_ones(rng):
    lengths = np.array([4, 1, 2])
    first = chain("torch", [linear("a"), linear("b", 2)], rng)
    states = rng.standard_normal((3, 4, 5))
    mask = np.arange(4)[None] < lengths[:, None]
    masked = (states * mask[..., None]).sum(1) / lengths[:, None]
    pair = []
    for own, array in ((first, masked), (twin(first), states.mean(1))):
        shift = 0.0 if own is first else 1.0
        ends = {1: {"inputs": {"0": array}, "outputs": {"": first.calls[1].outputs[""] + shift}}}
        own = with_calls(own, {0: {"outputs": {"": states}}, **ends})
        pair.append(replace(own, inputs={**own.inputs, "lengths": lengths}))
    cause = compare_forward(Both(*pair), align(*pair, place(*pair))).finding.cause
    assert "mean over axis 1 within the lengths lengths of the output of `a` in PyTorch" in cause.sentence
    assert "mean over axis 1 of the output of `a` in PaddlePaddle" in cause.sentence
