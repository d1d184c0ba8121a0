"""TextCNN beyond what the parity grid shows: which windows count, in the reference and in both frameworks."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

import backends
from core.batch import Batch, Windows, pad
from core.engine.executor import Executor
from core.errors import UserError
from core.models.encoders import AnyEncoder
from core.models.encoders.textcnn import TextCNNEncoder
from core.models.model import forward, initial_parameters, parameter_table
from core.parity.instances import random_parameters
from core.spec.experiment import Experiment, parse_experiment, replace
from tests.conftest import loaded, one_line

SIDES = [("reference", "")] + [(name, own) for name in backends.NAMES for own in TextCNNEncoder().implementations]


def small(**changes: object) -> Experiment:
    encoder = {"kind": "textcnn", "kernels": (1, 2, 5), "channels": (2, 3, 4), "activation": "tanh"}
    base = {"model.encoder": encoder, "model.head.pooling": "max", "training.dtype": "float64"}
    return replace(Experiment(), {**base, "model.embedding.vocab_size": 9, "model.embedding.dim": 3, **changes})


def outputs(side: tuple[str, str], experiment: Experiment, parameters: dict, batch: Batch) -> dict[str, np.ndarray]:
    name, implementation = side
    if name == "reference":
        return forward(experiment.model, parameters, batch)
    return (
        loaded(name)
        .Engine(experiment.model, experiment.training, parameters, Executor("cpu", implementation))
        .activations(batch)
    )


@pytest.mark.parametrize("side", SIDES, ids=" ".join)
def test_padding_changes_nothing(side, rng):
    """Biases are not zero: a window over padding would be worth its bias."""
    experiment = small()
    parameters = random_parameters(experiment, rng)
    ids = [rng.integers(1, 9, length) for length in (1, 2, 4, 5, 7)]
    narrow = pad(ids, {})
    wide = Batch(np.pad(narrow.ids, ((0, 0), (0, 6))), narrow.lengths, {})
    for name in ("pooled", "logits"):
        one, other = (outputs(side, experiment, parameters, batch)[name] for batch in (narrow, wide))
        np.testing.assert_allclose(one, other, atol=1e-15)


@pytest.mark.parametrize("side", SIDES, ids=" ".join)
def test_text_shorter_than_the_kernel_has_one_window(side, rng):
    """The text followed by zeros: the kernel's last columns read nothing."""
    experiment = small()
    parameters = random_parameters(experiment, rng)
    words = rng.integers(1, 9, 2)
    found = outputs(side, experiment, parameters, pad([words], {}))["encoder.conv2"]
    x, weight = parameters["embedding.weight"][words], parameters["encoder.conv2.weight"]
    wanted = np.einsum("ui,ciu->c", x, weight[:, :, :2]) + parameters["encoder.conv2.bias"]
    np.testing.assert_allclose(found[0, 0], wanted, atol=1e-14)
    assert not found[0, 1:].any()


@pytest.mark.parametrize("name", backends.NAMES)
@pytest.mark.parametrize("implementation", TextCNNEncoder().implementations)
def test_first_of_equal_maxima_gets_the_gradient(name, implementation, rng):
    """The same word three times: the windows are equal, and only the first word's table row would show it by parts."""
    experiment = small(**{"model.encoder": {"kind": "textcnn", "kernels": (2,), "channels": (3,)}})
    parameters = random_parameters(experiment, rng)
    parameters["encoder.conv0.bias"] += 5.0  # past the kink of relu
    batch = pad([np.array([2, 3, 2, 3, 4])], {"label": np.array([1])})
    engine = loaded(name).Engine(experiment.model, experiment.training, parameters, Executor("cpu", implementation))
    maps = engine.activations(batch)["encoder.conv0"][0]
    assert np.array_equal(maps[0], maps[2])
    _, gradients = engine.gradients(batch, 0)
    tied = maps[:4].argmax(axis=0) == 0  # kernels whose largest windows are the two equal ones
    moved = np.abs(gradients["embedding.weight"][2]).sum() > 0
    assert moved == bool(tied.any() or (maps[:4].argmax(axis=0) == 1).any())


def test_windows():
    batch = Batch(np.ones((3, 6), np.int64), np.array([6, 3, 1]), {})
    assert Windows(batch, 3).counts[:, 0].tolist() == [4, 1, 1]
    assert Windows(batch, 3).mask[:, :, 0].sum(axis=1).tolist() == [4, 1, 1]
    assert Windows(batch).counts[:, 0].tolist() == [6, 3, 1]


def test_names_shapes_and_starting_values():
    experiment = small(**{"model.embedding.static_copy": True, "model.embedding.init": {"scheme": "normal"}})
    shapes = {row.name: row.shape for row in parameter_table(experiment.model)}
    assert list(shapes)[:4] == [
        "embedding.weight", "embedding.static.weight", "encoder.conv0.weight", "encoder.conv0.bias"
    ]  # fmt: skip
    assert shapes["encoder.conv2.weight"] == (4, 6, 5) and shapes["head.weight"] == (2, 9)
    values = initial_parameters(experiment.model, 3, "float64")
    assert np.array_equal(values["embedding.weight"], values["embedding.static.weight"])
    assert not values["embedding.static.weight"][0].any()
    wide = replace(experiment, {"model.encoder": {"kind": "textcnn", "kernels": (4,), "channels": (500,)}})
    weight = initial_parameters(wide.model, 0, "float64")["encoder.conv0.weight"]
    assert weight.std() == pytest.approx((3 * 6 * 4) ** -0.5, rel=0.03)  # uniform up to 1 / sqrt(I k)
    glorot = replace(wide, {"model.encoder.init": {"scheme": "xavier_uniform"}})
    weight = initial_parameters(glorot.model, 0, "float64")["encoder.conv0.weight"]
    assert np.abs(weight).max() == pytest.approx((6 / ((6 + 500) * 4)) ** 0.5, rel=0.01)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model.head.pooling": "last"}, "head.pooling last is not supported by encoder.kind textcnn: use max or mean"),
        ({"model.encoder.kernels": (2, 2, 3)}, "kernels must differ"),
        ({"model.encoder.channels": (2, 3)}, "got 2 channels, expected 3"),
        ({"model.encoder.kernels": (0, 2, 3)}, "model.encoder.kernels"),
        ({"model.encoder.kernels": (1, 2, 65)}, "less than or equal to 64"),
        ({"model.encoder": {"kind": "transformer"}}, "kind should be one of recurrent, textcnn, none"),
    ],
)
def test_invalid_specs_are_refused(changes, says):
    with pytest.raises(UserError) as error:
        small(**changes)
    assert says in one_line(error)


def test_spec_without_kind_is_recurrent():
    tree = Experiment().model_dump(mode="json")
    del tree["model"]["encoder"]["kind"]
    assert parse_experiment(tree, "here") == Experiment()
    with pytest.raises(ValidationError):
        TextCNNEncoder(kernels=())
    assert AnyEncoder


@pytest.mark.parametrize("side", SIDES, ids=" ".join)
def test_centered_windows_give_every_real_token_one(side, rng):
    """By the definition, token by token; an even kernel has one token more after its center than before it."""
    kernels, channels = (1, 4, 5), (2, 3, 4)
    encoder = {"kind": "textcnn", "kernels": kernels, "channels": channels, "activation": "tanh", "padding": "same"}
    experiment = small(**{"model.encoder": encoder})
    parameters = random_parameters(experiment, rng)
    words = [rng.integers(1, 9, length) for length in (1, 7, 3)]
    found = outputs(side, experiment, parameters, pad(words, {}))
    for number, (width, size) in enumerate(zip(kernels, channels, strict=True)):
        weight, bias = (parameters[f"encoder.conv{number}.{kind}"] for kind in ("weight", "bias"))
        wanted = np.zeros((3, 7, size))
        for row, ids in enumerate(words):
            x = parameters["embedding.weight"][ids]
            for t in range(len(ids)):
                for u in range(width):
                    if 0 <= (place := t + u - (width - 1) // 2) < len(ids):
                        wanted[row, t] += weight[:, :, u] @ x[place]
                wanted[row, t] += bias
        np.testing.assert_allclose(found[f"encoder.conv{number}"], wanted, atol=1e-14)
