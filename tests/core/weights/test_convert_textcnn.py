"""Weights of a TextCNN from elsewhere: d2l's Conv1d in both frameworks, and PaddleNLP's Conv2D; there and back."""

from __future__ import annotations

import numpy as np
import pytest

import backends
import tasks.port.__main__ as program
from backends import weight_files
from core.batch import pad
from core.errors import UserError
from core.models.model import Model, forward
from core.spec.experiment import Experiment, replace
from core.weights.convert import Choices, convert
from core.weights.state_dict import StateDict
from tests.conftest import fresh_rng, loaded, one_line, run_main

LAYOUTS = {"torch": "out_in", "paddle": "in_out"}
V, E, CLASSES, KERNELS, CHANNELS = 9, 4, 3, (4, 2, 3), (2, 5, 3)


def d2l_arrays(rng: np.random.Generator, layout: str, static: bool, two_dimensional: bool = False) -> dict:
    """Names of d2l's TextCNN; with `two_dimensional` convolutions as PaddleNLP's encoder has them."""
    inputs = 2 * E if static else E
    arrays = {"embedding.weight": rng.normal(size=(V, E))}
    if static:
        arrays["constant_embedding.weight"] = rng.normal(size=(V, E))
    for table in arrays.values():
        table[0] = 0.0
    for number, (width, channels) in enumerate(zip(KERNELS, CHANNELS, strict=True)):
        shape = (channels, 1, width, inputs) if two_dimensional else (channels, inputs, width)
        arrays[f"convs.{number}.weight"] = rng.normal(size=shape)
        arrays[f"convs.{number}.bias"] = rng.normal(size=channels)
    weight = rng.normal(size=(CLASSES, sum(CHANNELS)))
    arrays["decoder.weight"] = weight if layout == "out_in" else weight.T.copy()
    arrays["decoder.bias"] = rng.normal(size=CLASSES)
    return arrays


def logits_by_torch(arrays: dict, ids: np.ndarray) -> np.ndarray:
    """A TextCNN as one writes it in torch, maximum over time, of texts that all are as long; decoder [out, in]."""
    torch = loaded("torch").framework.torch
    found = {name: torch.from_numpy(array) for name, array in arrays.items()}
    words = found["embedding.weight"][ids]
    if "constant_embedding.weight" in found:
        words = torch.cat([words, found["constant_embedding.weight"][ids]], dim=2)
    features = []
    for number in range(len(KERNELS)):
        weight, bias = found[f"convs.{number}.weight"], found[f"convs.{number}.bias"]
        if weight.ndim == 3:
            maps = torch.nn.functional.conv1d(words.permute(0, 2, 1), weight, bias)
        else:
            maps = torch.nn.functional.conv2d(words[:, None], weight, bias)[..., 0]
        features.append(torch.relu(maps.max(dim=2)[0]))
    return (torch.cat(features, dim=1) @ found["decoder.weight"].T + found["decoder.bias"]).numpy()


def state(arrays: dict) -> StateDict:
    return StateDict("file.pt", arrays)


@pytest.mark.parametrize("two_dimensional", [False, True])
@pytest.mark.parametrize("static", [False, True])
def test_logits_are_those_of_the_other_s_own_module(static, two_dimensional, rng):
    arrays = d2l_arrays(rng, "out_in", static, two_dimensional)
    port = convert(state(arrays), "out_in", Choices(pooling="max", encoder_activation="relu"))
    assert port.model.encoder.kernels == KERNELS and port.model.encoder.channels == CHANNELS
    assert port.model.embedding.static_copy is static and port.model.embedding.dim == E
    assert not port.unplaced
    ids = rng.integers(1, V, (5, 8))
    found = forward(port.model, port.arrays, pad(list(ids), {}))["logits"]
    np.testing.assert_allclose(found, logits_by_torch(arrays, ids), atol=1e-12)


@pytest.mark.parametrize("two_dimensional", [False, True])
@pytest.mark.parametrize("name", backends.NAMES)
def test_there_and_back_with_the_whole_proof(name, two_dimensional, tmp_path, rng):
    """A file of one framework's to the other and back has the bits that it had, under its own names."""
    loaded(name)
    other = next(entry for entry in backends.NAMES if entry != name)
    loaded(other)
    arrays = d2l_arrays(rng, LAYOUTS[name], True, two_dimensional)
    ends = {kind: suffixes[0] for kind, suffixes in weight_files.SUFFIXES.items()}
    first, second, third = (
        tmp_path / f"{stem}{ends[kind]}" for stem, kind in zip("abc", (name, other, name), strict=True)
    )
    weight_files.writer(name).write_state(first, arrays)
    for source, target, kind in ((first, second, other), (second, third, name)):
        done = run_main(program.main, source, "--to", kind, "--out", target, "--pooling", "max")
        assert done.code == 0, done.out + done.err
        assert "compute the same with the converted weights" in done.out
    again = weight_files.reader(name).read_state(third).arrays
    assert again.keys() == arrays.keys()
    for key, array in arrays.items():
        assert again[key].shape == array.shape and again[key].tobytes() == np.ascontiguousarray(array).tobytes(), key


def test_neutral_names_too(tmp_path, rng):
    loaded("torch")
    source = tmp_path / "own.pt"
    weight_files.writer("torch").write_state(source, d2l_arrays(rng, "out_in", False))
    done = run_main(program.main, source, "--to", "safetensors", "--pooling", "max", "--encoder-activation", "tanh")
    assert done.code == 0, done.out + done.err
    names = set(weight_files.reader("safetensors").read_state(tmp_path / "own.safetensors").arrays)
    assert {"encoder.conv0.weight", "encoder.conv2.bias", "head.weight", "embedding.weight"} <= names


def model(**changes: object) -> Model:
    return replace(Experiment(), changes).model


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: a.update({"convs.1.weight": a["convs.1.weight"][:, :3]}), "have input sizes [3, 4]"),
        (lambda a: a.update({"convs.0.bias": a["convs.0.bias"][:1]}), "expected shape [2]"),
        (lambda a: a.update({"more.0.weight": a["convs.0.weight"]}), "several groups of convolutions, convs, more"),
        (lambda a: a.pop("embedding.weight"), "no embedding"),
        (lambda a: a.update({"decoder.weight": a["decoder.weight"][:, 1:]}), "form no chain from the encoder's 10"),
    ],
)
def test_what_does_not_fit_is_one_line(change, says):
    arrays = d2l_arrays(fresh_rng(), "out_in", False)
    change(arrays)
    with pytest.raises(UserError) as error:
        convert(state(arrays), "out_in")
    assert says in one_line(error)


def test_a_bias_that_is_not_there_is_zero_and_said(rng):
    arrays = d2l_arrays(rng, "out_in", False)
    del arrays["convs.1.bias"]
    port = convert(state(arrays), "out_in")
    assert not port.arrays["encoder.conv1.bias"].any() and port.model.head.pooling == "max"
    assert any("zeros for the bias that convs.1 lacks" in line for line in port.assumed)
    assert any("`encoder_activation`" in line for line in port.assumed)
