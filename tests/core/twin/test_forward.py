"""The first layer whose outputs differ: inside a layer, between two, or in front of the end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.twin.alignment import align
from core.twin.causes import Both
from core.twin.forward import compare_forward
from core.twin.placing import place
from tests.core.twin.handmade import Layer, activation, chain, linear, twin, with_calls

LAYERS = [linear("block.a"), activation("block.relu"), linear("block.b", 4), linear("c", 2)]
NUMBERS = {"block.a": 0, "block.relu": 1, "block.b": 2, "c": 3}


@pytest.fixture
def first(rng):
    return chain("torch", LAYERS, rng)


def compare(first, second, **options):
    return compare_forward(Both(first, second), align(first, second, place(first, second)), **options)


def changed(call, what, rng, size=1e-6):
    """Other outputs of a call, with a difference that is larger than the limit."""
    arrays = getattr(call, what)
    return {what: {route: own + size * rng.standard_normal(own.shape) for route, own in arrays.items()}}


def spoiled(first, rng, start, inside):
    """The twin whose arrays differ from call `start` on; its inputs too unless `inside`."""
    own = twin(first)
    changes = {}
    for call in own.calls[start:]:
        changes[call.number] = changed(call, "outputs", rng)
        if call.number > start or not inside:
            changes[call.number] |= changed(call, "inputs", rng)
    return with_calls(own, changes)


def test_equal_models_pass_up_to_rounding(first):
    found = compare(first, twin(first))
    assert found.finding.passed and 0 < found.finding.value < 1e-14 and found.finding.compared == 5
    assert [row.outputs is not None for row in found.rows] == [True] * 4 and found.agreeing == 8


@pytest.mark.parametrize("path", NUMBERS)
def test_a_difference_inside_a_layer_is_found(first, rng, path):
    found = compare(first, spoiled(first, rng, NUMBERS[path], True))
    assert not found.finding.passed and found.finding.cause.place == "inside"
    assert found.finding.cause.paths == {"torch": path, "paddle": path}
    assert f"`{path}`: inputs agree" in found.finding.sentence and found.agreeing == 2 * NUMBERS[path] + 1


@pytest.mark.parametrize("path", ["block.relu", "block.b", "c"])
def test_a_difference_between_two_layers_is_found(first, rng, path):
    found = compare(first, spoiled(first, rng, NUMBERS[path], False))
    before = first.calls[NUMBERS[path] - 1].path
    assert found.finding.cause.place == "between" and found.finding.cause.paths["paddle"] == path
    assert f"between `{before}` and `{path}`" in found.finding.cause.sentence
    assert f"mine_torch.py:{30 + NUMBERS[path]}" in found.finding.cause.sentence


def test_the_smallest_module_around_the_code_is_named(first, rng):
    assert "in `block`" in compare(first, spoiled(first, rng, 2, False)).finding.cause.sentence
    assert "in `" not in compare(first, spoiled(first, rng, 3, False)).finding.cause.sentence


def test_a_difference_behind_the_last_layer_is_found(first, rng):
    second = twin(first)
    found = compare(first, replace(second, outputs={"": second.outputs[""] + 1e-3}))
    assert "between `c` and the outputs of the model" in found.finding.cause.sentence
    assert found.finding.cause.paths == {"torch": "", "paddle": ""}


def test_models_whose_outputs_agree_pass_with_a_warning(first, rng):
    second = twin(first)
    changes = {1: changed(second.calls[1], "outputs", rng), 2: changed(second.calls[2], "inputs", rng)}
    found = compare(first, with_calls(second, changes))
    assert found.finding.passed and any("`block.relu`" in text for text in found.warnings)


def test_a_nan_in_one_model_is_a_difference(first):
    second = twin(first)
    outputs = {"": np.where(np.arange(2) == 1, np.nan, second.calls[3].outputs[""])}
    found = compare(first, with_calls(second, {3: {"outputs": outputs}}))
    assert not found.finding.passed and found.finding.value == np.inf
    assert found.finding.cause.paths["torch"] == "c"


def test_outputs_are_matched_by_name_or_by_order_and_size(first):
    second = twin(first)
    one = {"0": first.outputs[""], "1": first.calls[0].outputs[""]}
    two = {"logits": second.outputs[""], "states": second.calls[0].outputs[""], "more": np.ones(3)}
    found = compare(replace(first, outputs=one), replace(second, outputs=two))
    assert found.finding.passed
    assert "output 1 in PyTorch is states in PaddlePaddle" in found.warnings
    assert "output more is in PaddlePaddle only" in found.warnings


def test_outputs_in_another_order_of_axes_pass_and_are_told(first):
    second = twin(first)
    found = compare(first, replace(second, outputs={"": second.outputs[""].T}))
    assert found.finding.passed and "order (1, 0)" in found.warnings[0]


def test_outputs_without_a_partner_fail(first):
    found = compare(first, replace(twin(first), outputs={"logits": np.ones((7, 7))}))
    assert not found.finding.passed and "no equal shapes" in found.finding.sentence
    found = compare(first, replace(twin(first), outputs={"": np.ones((7, 7))}))
    assert "shapes are [5, 2] in PyTorch, [7, 7] in PaddlePaddle" in found.finding.cause.sentence


def test_swapped_arrays_are_named(first, rng):
    """Such as the hidden and the cell state of an LSTM."""
    h, c, other = rng.standard_normal((3, 5, 4))
    one = with_calls(first, {3: {"inputs": {**first.calls[3].inputs, "1.0": h, "1.1": c}}})
    second = spoiled(first, rng, 3, True)
    for arrays, swapped in (({"1.0": c, "1.1": h}, True), ({"1.0": c, "1.1": other}, False)):
        found = compare(one, with_calls(second, {3: {"inputs": {**second.calls[3].inputs, **arrays}}}))
        assert found.finding.cause.place == "between"
        assert ("inputs 1.0 and 1.1 are swapped" in found.finding.cause.sentence) == swapped
    one = replace(first, outputs={"class": h, "value": c})
    found = compare(one, replace(twin(first), outputs={"class": c, "value": h}))
    assert "outputs class and value are swapped" in found.finding.cause.sentence


def test_masks_in_another_form_are_no_difference_of_inputs(first, rng):
    mask = rng.random((5, 5)) < 0.5
    one = with_calls(first, {2: {"inputs": {**first.calls[2].inputs, "1": mask}}})
    second = spoiled(first, rng, 2, True)
    two = with_calls(second, {2: {"inputs": {**second.calls[2].inputs, "1": np.where(mask, 0.0, -np.inf)}}})
    two = with_calls(two, {2: {"outputs": second.calls[2].outputs}})
    assert compare(one, two).finding.cause.place == "inside"


def test_layers_in_another_order_are_named(rng):
    layers = [linear("a"), linear("b"), linear("c")]
    first = chain("torch", layers, rng)
    second = chain("paddle", layers, rng, run=("a", "c", "b"))
    start = {
        call.number: {"inputs": first.calls[0].inputs, "outputs": first.calls[0].outputs} for call in second.calls[:1]
    }
    found = compare(first, with_calls(second, start))
    assert found.finding.cause.place == "order"
    assert "`b` runs before `c` in PyTorch, and after it in PaddlePaddle" in found.finding.cause.sentence


SIZES = {"running_mean": (4,), "running_var": (4,)}


def after_a_step(rng, momenta=(0.1, 0.1), biased=True, count=6):
    """Batch normalization in training mode; Paddle's variance of the batch divides by n if `biased`."""
    mean, variance = rng.standard_normal(4), rng.random(4) + 0.5
    found = []
    for at, framework in enumerate(("torch", "paddle")):
        layer = Layer("norm", "batch_norm", SIZES, {"momentum": momenta[at], "epsilon": 1e-5})
        own = chain(framework, [layer], np.random.default_rng(1), mode="training")
        own = replace(own, parameters=tuple(replace(one, buffer=True) for one in own.parameters))
        share = (count - 1) / count if at and biased else 1.0
        new = {"norm.running_mean": mean, "norm.running_var": share * variance}
        before = {one.name: one.values for one in own.parameters}
        after = {name: (1 - momenta[at]) * before[name] + momenta[at] * new[name] for name in new}
        found.append(replace(own, after=after))
    return found


def test_running_statistics_are_compared_in_training_mode(rng):
    names = [(f"norm.{role}", f"norm.{role}") for role in SIZES]
    right = compare(*after_a_step(rng), buffers=names)
    assert right.finding.passed and any("n - 1" in text for text in right.warnings)
    wrong = compare(*after_a_step(rng, momenta=(0.1, 0.9)), buffers=names)
    assert wrong.finding.cause.setting == "momentum" and wrong.finding.cause.link == "batch_norm"
    other = compare(*after_a_step(rng, biased=False, count=6), buffers=names)
    assert other.finding.passed and not other.warnings


def test_dropout_that_only_one_model_has_is_named(first, rng):
    one = replace(first, mode="training", dropouts=(("block.relu", (5, 4), 0.5), ("", (5, 4), 0.1)))
    second = replace(spoiled(first, rng, 2, False), mode="training", dropouts=one.dropouts[:1])
    found = compare(one, second)
    assert "dropout of 0.1 on [5, 4] (a function) runs in PyTorch only" in found.finding.cause.sentence
    other = replace(second, dropouts=(one.dropouts[0], ("", (4, 5), 0.2)))
    assert "dropout rate 0.1 in PyTorch, 0.2 in PaddlePaddle" in compare(one, other).finding.cause.sentence
