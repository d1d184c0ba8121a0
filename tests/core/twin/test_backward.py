"""Gradients of two hand-made recordings: the first that differs on the way back from the loss, and why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.twin.backward import compare_gradients
from core.twin.kinds import ACTIVATION, CONTAINER, EMBEDDING, LINEAR, RECURRENT
from core.twin.recording import Call, Module, Parameter, Recording
from core.twin.verdict import Pairing

PATHS = ("embedding", "first", "tanh", "last")
PARAMETERS = ("embedding.weight", "first.weight", "first.bias", "last.weight")
ALL = Pairing({name: name for name in PARAMETERS}, dict.fromkeys(PARAMETERS, "name"))


def recording(rng: np.random.Generator, framework: str = "torch") -> Recording:
    """A chain of four layers; every layer gets the output of the one before it as it is."""
    shapes = {"embedding": (3, 4), "first": (3, 5), "tanh": (3, 5), "last": (3, 2)}
    outputs = {path: rng.standard_normal(shape) for path, shape in shapes.items()}
    before = dict(zip(PATHS[1:], PATHS, strict=False))
    calls = [
        Call(
            number,
            path,
            {"0": outputs[before[path]] if path in before else rng.integers(7, size=3)},
            {"": outputs[path]},
            gradients={"": rng.standard_normal(shapes[path])},
        )
        for number, path in enumerate(PATHS)
    ]
    sizes = {"embedding.weight": (7, 4), "first.weight": (5, 4), "first.bias": (5,), "last.weight": (2, 5)}
    parameters = tuple(
        Parameter(name, name, name.rpartition(".")[0], name.rpartition(".")[2], rng.standard_normal(sizes[name]))
        for name in PARAMETERS
    )
    kinds = (EMBEDDING, LINEAR, ACTIVATION, LINEAR)
    modules = [Module("", "Model", CONTAINER, {}, PATHS)]
    modules += [Module(path, path.title(), kind, {"bias": True}) for path, kind in zip(PATHS, kinds, strict=True)]
    gradients = {name: rng.standard_normal(size) for name, size in sizes.items()}
    return Recording(
        *(framework, "1", "float64", "evaluation", 0, tuple(modules), parameters, {}, tuple(calls)),
        outputs={"": outputs["last"]},
        loss=1.5,
        gradients=gradients,
    )


def rounded(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return array * (1 + 1e-14 * rng.standard_normal(array.shape))


def twin(first: Recording, rng: np.random.Generator) -> Recording:
    """The same in Paddle, up to rounding."""
    calls = tuple(
        replace(call, gradients={route: rounded(own, rng) for route, own in call.gradients.items()})
        for call in first.calls
    )
    gradients = {name: rounded(own, rng) for name, own in first.gradients.items()}
    return replace(first, framework="paddle", calls=calls, gradients=gradients)


def with_output(recording: Recording, changed: dict[str, np.ndarray | None]) -> Recording:
    """The recording with other gradients of the outputs of layers, None for none."""
    calls = tuple(
        replace(call, gradients={} if changed[call.path] is None else {"": changed[call.path]})
        if call.path in changed
        else call
        for call in recording.calls
    )
    return replace(recording, calls=calls)


def with_module(recording: Recording, path: str, **changed) -> Recording:
    modules = tuple(replace(own, **changed) if own.path == path else own for own in recording.modules)
    return replace(recording, modules=modules)


def compare(first: Recording, second: Recording, pairing: Pairing = ALL):
    calls = list(zip(first.leaf_calls(), second.leaf_calls(), strict=True))
    return compare_gradients(first, second, pairing, calls)


@pytest.fixture
def first(rng) -> Recording:
    return recording(rng)


def test_equal_gradients_pass_up_to_rounding(first, rng):
    found = compare(first, twin(first, rng))
    assert found.finding.passed and found.finding.cause is None
    assert 0 < found.finding.value < 1e-12
    assert found.finding.compared == len(PATHS) + len(PARAMETERS)
    assert len(found.figures) == len(PATHS) and set(found.parameters) == set(PARAMETERS)


def test_a_difference_behind_a_layer_is_between_it_and_its_consumer(first, rng):
    second = twin(first, rng)
    changed = {path: rng.standard_normal(first.calls[n].outputs[""].shape) for n, path in enumerate(PATHS[:2])}
    second = with_output(second, changed)
    second = replace(second, gradients={**second.gradients, "first.bias": rng.standard_normal(5)})
    found = compare(first, second).finding
    assert not found.passed and found.rung == 2
    assert found.cause.place == "between" and found.cause.paths == {"torch": "first", "paddle": "first"}
    assert "between `first` and `tanh`" in found.cause.sentence


def test_a_parameter_behind_equal_output_gradients_is_inside_its_layer(first, rng):
    second = twin(first, rng)
    second = with_output(second, {"embedding": rng.standard_normal((3, 4))})
    second = replace(second, gradients={**second.gradients, "first.weight": rng.standard_normal((5, 4))})
    found = compare(first, second).finding
    assert (found.cause.place, found.cause.paths["paddle"]) == ("inside", "first")
    assert "first.weight" in found.sentence


def test_missing_gradients_are_detached_on_the_side_that_lacks_them(first, rng):
    second = with_output(twin(first, rng), {"embedding": None, "first": None})
    left = {name: own for name, own in second.gradients.items() if name == "last.weight"}
    found = compare(first, replace(second, gradients=left)).finding
    assert found.cause.place == "detached" and found.cause.paths["paddle"] == "first"
    assert found.cause.sentence == "detached between `first` and `tanh` in PaddlePaddle"


def test_a_frozen_parameter_is_named_as_frozen(first, rng):
    second = twin(first, rng)
    left = {name: own for name, own in second.gradients.items() if name != "embedding.weight"}
    parameters = tuple(replace(own, trainable=own.name != "embedding.weight") for own in second.parameters)
    second = replace(with_output(second, {"embedding": None}), gradients=left, parameters=parameters)
    found = compare(first, second).finding
    assert (found.cause.setting, found.cause.paths["torch"]) == ("trainable", "embedding")
    assert found.cause.sentence == "`embedding` is frozen in PaddlePaddle only"


def test_a_gradient_of_rounding_alone_may_be_missing(first, rng):
    noise = {**first.gradients, "first.bias": 1e-17 * rng.standard_normal(5)}
    second = twin(first, rng)
    left = {name: own for name, own in second.gradients.items() if name != "first.bias"}
    assert compare(replace(first, gradients=noise), replace(second, gradients=left)).finding.passed


def test_a_small_gradient_is_compared_at_a_hundredth_of_the_largest(first, rng):
    tiny = 1e-6 * rng.standard_normal(5)
    largest = max(np.abs(own).max() for name, own in first.gradients.items() if name != "first.bias")
    one = replace(first, gradients={**first.gradients, "first.bias": tiny})
    for share, passed in ((0.5e-9, True), (2e-9, False)):
        other = tiny.copy()
        other[2] += share * 0.01 * largest
        two = replace(twin(one, rng), gradients={**one.gradients, "first.bias": other})
        assert compare(one, two).finding.passed == passed


def test_rows_of_the_padding_id_explain_a_difference(first, rng):
    gradient = first.gradients["embedding.weight"].copy()
    gradient[2] = 0
    second = replace(twin(first, rng), gradients={**first.gradients, "embedding.weight": gradient})
    one, two = (
        with_module(own, "embedding", settings={"padding_id": padding}) for own, padding in ((first, None), (second, 2))
    )
    cause = compare(one, two).finding.cause
    assert (cause.setting, cause.repaired, cause.link) == ("padding_id", True, "padding_row")
    assert "None in PyTorch, 2 in PaddlePaddle" in cause.sentence
    gradient[4] += 1
    assert not compare(one, two).finding.cause.repaired


def test_a_detached_skip_connection_is_found_by_the_gradient_that_it_passes_on(first, rng):
    passed_on = first.calls[2].gradients[""]
    second = with_output(twin(first, rng), {"first": first.calls[1].gradients[""] - passed_on})
    second = with_other_weight(second, rng)
    cause = compare(first, second).finding.cause
    assert cause.place == "detached" and cause.sentence == "the path around `tanh` is detached in PaddlePaddle"


def test_a_detached_input_of_a_linear_layer_is_found_by_its_weight(first, rng):
    weight = first.parameter("last.weight").values
    passed_on = first.calls[3].gradients[""] @ weight
    second = with_output(twin(first, rng), {"first": first.calls[1].gradients[""] + passed_on})
    second = with_other_weight(second, rng)
    cause = compare(first, second).finding.cause
    assert cause.place == "detached" and cause.sentence == "the input of `last` is detached in PyTorch"


def test_output_gradients_that_meet_again_before_the_parameters_are_no_fault(first, rng):
    """Tied maxima share a gradient: the sum that arrives at the parameters is the same."""
    second = with_output(twin(first, rng), {"tanh": first.calls[2].gradients[""][::-1]})
    found = compare(first, second)
    assert found.finding.passed and found.finding.cause is None and found.finding.value < 1e-12
    assert "`tanh`" in found.finding.sentence and "those of all parameters and inputs agree" in found.finding.sentence
    assert found.figures[2] > 0.01
    moved = replace(second, gradients={**second.gradients, "first.bias": rng.standard_normal(5)})
    assert not compare(first, moved).finding.passed


def test_tied_maxima_are_linked(first, rng):
    output = first.calls[2].outputs[""]
    output[0] = output[2] = np.abs(output).max() + rng.random(5)
    shared = first.calls[2].gradients[""].copy()
    half = rng.standard_normal(5)
    shared[0] += half
    shared[2] -= half
    second = with_other_weight(with_output(twin(first, rng), {"tanh": shared}), rng)
    assert compare(first, second).finding.cause.link == "max_ties"
    shared[1] += half
    assert compare(first, with_output(second, {"tanh": shared})).finding.cause.link == ""


def with_other_weight(recording: Recording, rng: np.random.Generator) -> Recording:
    """The recording with another gradient of the first layer, as a difference behind it causes."""
    return replace(recording, gradients={**recording.gradients, "embedding.weight": rng.standard_normal((7, 4))})


def test_a_constant_factor_is_named(first, rng):
    second = replace(twin(first, rng), gradients={**first.gradients, "last.weight": 4 * first.gradients["last.weight"]})
    assert "4 times as large in PaddlePaddle" in compare(first, second).finding.cause.sentence


def test_losses_of_equal_outputs_differ_by_their_reduction(first, rng):
    second = replace(twin(first, rng), loss=1.5 / 6)
    found = compare(first, second).finding
    assert not found.passed and found.cause.setting == "reduction"
    assert "6 times as large in PyTorch" in found.cause.sentence


def test_weights_tied_on_one_side_are_named(first, rng):
    shape = first.gradients["first.weight"].shape
    own = [replace(p, values=np.zeros(shape)) if p.name == "last.weight" else p for p in first.parameters]
    tied = [replace(p, tied_to="first.weight") if p.name == "last.weight" else p for p in own]
    separate = {**first.gradients, "last.weight": rng.standard_normal(shape)}
    total = {name: array for name, array in separate.items() if name != "last.weight"}
    total["first.weight"] = separate["first.weight"] + separate["last.weight"]
    one = replace(first, parameters=tuple(tied), gradients=total)
    two = replace(twin(first, rng), parameters=tuple(own), gradients=separate)
    found = compare(one, two).finding
    assert found.cause.setting == "tied" and "tied in PyTorch, but not in PaddlePaddle" in found.cause.sentence
    assert "last.weight" in found.sentence


def test_parameters_of_the_model_itself_are_compared(first, rng):
    scale = Parameter("scale", "scale", "", "scale", np.ones(1))
    one = replace(first, parameters=(*first.parameters, scale), gradients={**first.gradients, "scale": np.full(1, 2.0)})
    two = replace(twin(one, rng), gradients={**one.gradients, "scale": np.full(1, 2.5)})
    found = compare(one, two, Pairing({**ALL.names, "scale": "scale"}, ALL.how)).finding
    assert not found.passed and found.cause.place == "between" and "`scale`" in found.sentence


def test_layers_without_backward_in_evaluation_mode_are_named(first, rng):
    second = replace(twin(first, rng), loss=None, gradients={})
    found = compare(first, with_module(second, "first", kind=RECURRENT))
    assert found.finding.passed and found.finding.value is None
    assert found.finding.cause.link == "eval_backward" and "`first`" in found.finding.sentence
    assert found.figures == (None,) * len(PATHS)
