"""Rungs 1, 2 and 5 of the ladder: layers, gradients, and trained models, against the reference and each other."""

from __future__ import annotations

import functools
import os

import numpy as np
import pytest
from cases import (
    GRID,
    STEP,
    VARIANTS,
    Case,
    random_batch,
    random_parameters,
    record,
    reference_gradients,
    reference_loss,
    relative,
)

import backends
from core import reference
from core.batches import Batch, pad
from core.metrics import summarize
from core.spec import Experiment

FORWARD = {"float64": 1e-12, "float32": 2e-6}
GRADIENT = {"float64": 1e-10, "float32": 2e-5}
"""Relative, per tensor; DESIGN: the ladder."""

INSTALLED = [name for name in backends.NAMES if backends.installed(name)]
SEED = int(os.environ.get("SEQTWIN_SEED", np.random.SeedSequence().entropy % 2**32))
"""Fresh in every run; `SEQTWIN_SEED=N` repeats one."""

each_case = pytest.mark.parametrize("case", GRID + VARIANTS, ids=str)
each_dtype = pytest.mark.parametrize("dtype", ["float64", "float32"])
each_backend = pytest.mark.parametrize("name", INSTALLED)
needs_both = pytest.mark.skipif(len(INSTALLED) < 2, reason="compares two frameworks, and one is installed")


@pytest.fixture(autouse=True)
def seed_in_report():
    """Shown with a failure: how to repeat it."""
    print(f"SEQTWIN_SEED={SEED}")


@functools.cache
def instance(case: Case, dtype: str):
    """A spec with random parameters and a random batch: the same for every test of the case in this run."""
    rng = np.random.default_rng([SEED, hash_of(case)])
    experiment = case.experiment(dtype)
    return experiment, random_parameters(experiment, rng), random_batch(experiment, rng)


@functools.cache
def wanted_gradients(case: Case, dtype: str):
    experiment, parameters, batch = instance(case, dtype)
    return reference_gradients(experiment, parameters, batch)


def hash_of(case: Case) -> int:
    return sum(ord(letter) * 31**place for place, letter in enumerate(str(case))) % 2**32


def engine_of(name: str, experiment: Experiment, parameters: dict[str, np.ndarray]):
    return backends.load(name).Engine(experiment.model, experiment.training, parameters, "cpu")


@each_case
@each_dtype
def test_rung_1_every_layer_computes_what_the_reference_does(case, dtype):
    experiment, parameters, batch = instance(case, dtype)
    exact = {name: array.astype(np.float64) for name, array in parameters.items()}
    wanted = reference.forward(experiment.model, exact, batch)
    found = {name: engine_of(name, experiment, parameters).activations(batch) for name in INSTALLED}
    found["reference"] = wanted
    for name, layers in found.items():
        assert layers.keys() == wanted.keys()
        for layer, output in layers.items():
            assert output.shape == wanted[layer].shape, (name, layer)
            if name != "reference":
                assert output.dtype == np.dtype(dtype)
            for other in found.keys() - {name}:
                difference = np.abs(output - found[other][layer]).max()
                record("1 forward, " + " ~ ".join(sorted({name, other})), dtype, difference)
                assert difference <= FORWARD[dtype], (name, other, layer)


@each_case
@each_dtype
def test_rung_2_every_gradient_is_the_reference_s(case, dtype):
    """With the dropout of a training step, whose masks all three take from core."""
    experiment, parameters, batch = instance(case, dtype)
    wanted = wanted_gradients(case, dtype)
    exact = {name: array.astype(np.float64) for name, array in parameters.items()}
    wanted_loss = float(reference_loss(experiment, exact, batch))
    found = {}
    for name in INSTALLED:
        loss, found[name] = engine_of(name, experiment, parameters).gradients(batch, STEP)
        assert abs(loss - wanted_loss) <= FORWARD[dtype] * max(1.0, abs(wanted_loss)), name
        assert found[name].keys() == wanted.keys()
    found["reference"] = wanted
    for name, gradients in found.items():
        assert not gradients.get("embedding.weight", np.zeros(1))[0].any(), f"{name}: PAD has a gradient"
        for other in found.keys() - {name}:
            for tensor, gradient in gradients.items():
                difference = relative(gradient, found[other][tensor])
                record("2 gradients (relative), " + " ~ ".join(sorted({name, other})), dtype, difference)
                assert difference <= GRADIENT[dtype], (name, other, tensor)


def test_the_complex_step_agrees_with_plain_differences():
    """The judge is judged: central differences of the same loss, to what they can give."""
    case = Case("lstm", 1, True, "max", "index")
    experiment, parameters, batch = instance(case, "float64")
    wanted = wanted_gradients(case, "float64")
    rng = np.random.default_rng(SEED)
    for name, gradient in wanted.items():
        direction = rng.normal(size=gradient.shape)
        ends = []
        for sign in (1.0, -1.0):
            moved = {**parameters, name: parameters[name] + sign * 1e-5 * direction}
            ends.append(reference_loss(experiment, moved, batch))
        slope = (ends[0] - ends[1]) / 2e-5
        assert slope == pytest.approx((gradient * direction).sum(), rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize("case", [case for case in GRID if case.lookup == "index"], ids=str)
@each_backend
def test_padding_is_never_seen(case, name):
    """More PAD columns, and the same rows in another order, change neither answers nor gradients."""
    experiment, parameters, batch = instance(case, "float64")
    # Dropout masks depend on the width of the batch: without it, nothing may.
    experiment = case.experiment(
        "float64", **{"model.embedding.dropout": 0.0, "model.encoder.dropout": 0.0, "model.head.dropout": 0.0}
    )
    engine = engine_of(name, experiment, parameters)
    order = np.random.default_rng(SEED).permutation(len(batch.labels))
    wider = np.pad(batch.ids, ((0, 0), (0, 4)))[order]
    padded = Batch(wider, batch.lengths[order], batch.labels[order])
    np.testing.assert_allclose(engine.logits(padded), engine.logits(batch)[order], rtol=0, atol=1e-15)
    loss, wanted = engine.gradients(batch, 0)
    padded_loss, found = engine.gradients(padded, 0)
    assert padded_loss == pytest.approx(loss, abs=1e-15)
    for tensor, gradient in found.items():
        assert relative(gradient, wanted[tensor]) <= 1e-14, tensor
    # And alone, without any padding, a sequence gets the answer it got in company.
    for row, length in enumerate(batch.lengths):
        alone = Batch(batch.ids[row : row + 1, :length], batch.lengths[row : row + 1], batch.labels[row : row + 1])
        np.testing.assert_allclose(engine.logits(alone)[0], engine.logits(batch)[row], rtol=0, atol=1e-15)


@pytest.mark.skipif("torch" not in INSTALLED, reason="torch is not installed")
@pytest.mark.parametrize("cell", ["srn", "gru", "lstm"])
@pytest.mark.parametrize("layers", [1, 2])
def test_torch_layers_equal_packed_sequences(cell, layers):
    """Packed sequences are torch's own definition of unequal lengths: outputs and every gradient."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    from backends.torch.layers import RecurrentEncoder
    from backends.torch.model import no_dropout
    from backends.torch.runtime import place

    case = Case(cell, layers, True, "mean", "index")
    experiment, parameters, batch = instance(case, "float64")
    ours = RecurrentEncoder(experiment.model.encoder, experiment.model.embedding.dim, torch.float64)
    builtin = {"srn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell]
    packed = builtin(3, 3, num_layers=layers, bidirectional=True, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for name, parameter in ours.named().items():
            value = torch.from_numpy(parameters[name])
            parameter.copy_(value)
            getattr(packed, name.removeprefix("encoder.")).copy_(value)
    rng = np.random.default_rng(SEED)
    values = rng.normal(size=(*batch.ids.shape, 3))
    weights = torch.from_numpy(rng.normal(size=(*batch.ids.shape, 6)))
    found, gradients = [], []
    for encoder in (ours, packed):
        x = torch.from_numpy(values.copy()).requires_grad_()
        if encoder is ours:
            output = ours(x, place(batch, "float64", torch.device("cpu")), no_dropout)[-1]
        else:
            lengths = torch.from_numpy(batch.lengths)
            output, _ = packed(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
            output, _ = pad_packed_sequence(output, batch_first=True)
        (output * weights).sum().backward()
        found.append(output)
        gradients.append(x.grad)
    assert (found[0] - found[1]).abs().max().item() <= 1e-14
    assert (gradients[0] - gradients[1]).abs().max().item() <= 1e-13
    for name, parameter in ours.named().items():
        theirs = getattr(packed, name.removeprefix("encoder.")).grad
        assert relative(parameter.grad.numpy(), theirs.numpy()) <= 1e-13, name


@pytest.mark.skipif("paddle" not in INSTALLED, reason="paddle is not installed")
@pytest.mark.parametrize("cell", ["srn", "gru", "lstm"])
def test_paddle_layers_equal_its_sequence_length(cell):
    """The same against Paddle's own handling of lengths."""
    from backends.paddle.framework import paddle
    from backends.paddle.layers import RecurrentEncoder
    from backends.paddle.model import no_dropout
    from backends.paddle.runtime import place

    case = Case(cell, 2, True, "mean", "index")
    experiment, parameters, batch = instance(case, "float32")
    ours = RecurrentEncoder(experiment.model.encoder, experiment.model.embedding.dim, "float32")
    builtin = {"srn": paddle.nn.SimpleRNN, "gru": paddle.nn.GRU, "lstm": paddle.nn.LSTM}[cell]
    theirs = builtin(3, 3, num_layers=2, direction="bidirect")
    for name, parameter in ours.named().items():
        parameter.set_value(parameters[name])
        getattr(theirs, name.removeprefix("encoder.")).set_value(parameters[name])
    x = paddle.to_tensor(np.random.default_rng(SEED).normal(size=(*batch.ids.shape, 3)).astype("float32"))
    output, _ = theirs(x, sequence_length=paddle.to_tensor(batch.lengths))
    mine = ours(x, place(batch, "float32", paddle.CPUPlace()), no_dropout)[-1]
    assert np.abs(output.numpy() - mine.numpy()).max() <= 2e-6


SRN_ANSWER, LSTM_ANSWER = (0.31774, 0.47750), (0.05944, 0.09524)


@pytest.mark.parametrize("cell, inputs, answer", [("srn", [2, 3], SRN_ANSWER), ("lstm", [2], LSTM_ANSWER)])
@pytest.mark.parametrize("name", [*INSTALLED, "reference"])
def test_the_textbook_s_hand_derivation(cell, inputs, answer, name):
    """nndl chapter 6: W = [[.1, .2], [.1, .2]], U = [[0, .1], [.1, 0]], b = .1 in every gate, h = x W + h U + b."""
    case = Case(cell, 1, False, "last", "index")
    experiment = case.experiment("float64", **{"model.embedding.dim": 2, "model.encoder.hidden_size": 2})
    parameters = random_parameters(experiment, np.random.default_rng(SEED))
    gates = {"srn": 1, "lstm": 4}[cell]
    parameters["embedding.weight"][2:4] = [[1, 0], [0, 2]]
    parameters["encoder.weight_ih_l0"] = np.tile(np.array([[0.1, 0.2], [0.1, 0.2]]).T, (gates, 1))
    parameters["encoder.weight_hh_l0"] = np.tile(np.array([[0.0, 0.1], [0.1, 0.0]]).T, (gates, 1))
    parameters["encoder.bias_ih_l0"] = np.full(gates * 2, 0.1)
    parameters["encoder.bias_hh_l0"] = np.zeros(gates * 2)
    batch = pad([np.array(inputs)], np.array([0]))
    if name == "reference":
        found = reference.forward(experiment.model, parameters, batch)
    else:
        found = engine_of(name, experiment, parameters).activations(batch)
    np.testing.assert_allclose(found["pooled"][0], answer, atol=5e-6)


@needs_both
@pytest.mark.parametrize("source, other", [INSTALLED, INSTALLED[::-1]] if len(INSTALLED) == 2 else [("", "")])
@each_dtype
@pytest.mark.parametrize("cell", ["srn", "gru", "lstm"])
def test_rung_5_a_trained_model_predicts_the_same_in_the_other_framework(source, other, dtype, cell):
    case = Case(cell, 2, True, "mean", "index")
    experiment, parameters, _ = instance(case, dtype)
    rng = np.random.default_rng([SEED, 5])
    trained = engine_of(source, experiment, parameters)
    for step in range(40):
        trained.train_step(random_batch(experiment, rng, rows=8), step, 1e-2)
    moved = engine_of(other, experiment, trained.parameters())
    batch = random_batch(experiment, rng, rows=200)
    here, there = (summarize(engine.logits(batch), batch.labels) for engine in (trained, moved))
    top = np.sort(here.probabilities, axis=1)
    tie = top[:, -1] - top[:, -2] < (0 if dtype == "float64" else 1e-5)
    assert (here.predicted == there.predicted)[~tie].all()
    assert not tie.all()
    record("5 probabilities of a trained model", dtype, np.abs(here.probabilities - there.probabilities).max())
    np.testing.assert_allclose(here.probabilities, there.probabilities, atol=FORWARD[dtype])


@needs_both
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"training.clip_mode": "tensor", "training.clip_norm": 0.05},
        {"training.optimizer": {"kind": "adam", "weight_decay": 0.1}, "training.clip_norm": 0.05},
        {"training.optimizer": {"kind": "sgd", "momentum": 0.9, "weight_decay": 0.1}},
        {"training.optimizer": {"kind": "sgd"}, "training.loss_reduction": "sum"},
        {"model.embedding.trainable": False},
    ],
    ids=str,
)
def test_training_goes_the_same_way_and_can_change_framework(changes):
    """Sixty steps in each framework, and sixty that change hands after twenty and forty: one curve."""
    case = Case("lstm", 1, True, "mean", "index")
    experiment = case.experiment("float64", **changes)
    rng = np.random.default_rng([SEED, 6])
    parameters = random_parameters(experiment, rng)
    batches = [random_batch(experiment, rng) for _ in range(60)]
    curves = {}
    for name in INSTALLED:
        engine = engine_of(name, experiment, parameters)
        for step, batch in enumerate(batches):
            engine.train_step(batch, step, 1e-2)
        curves[name] = [stats.loss for stats in engine.collect()]
    passed, moments, mixed = parameters, {}, []
    for turn, name in enumerate([INSTALLED[0], INSTALLED[1], INSTALLED[0]]):
        engine = engine_of(name, experiment, passed)
        engine.load(passed, moments, 20 * turn)
        for step in range(20 * turn, 20 * turn + 20):
            engine.train_step(batches[step], step, 1e-2)
        mixed += [stats.loss for stats in engine.collect()]
        passed, moments = engine.parameters(), engine.moments()
    one, two = curves.values()
    record("3 loss over 60 training steps", "float64", np.abs(np.subtract(one, two)).max())
    record("4 loss when the framework changes twice", "float64", np.abs(np.subtract(one, mixed)).max())
    assert np.abs(np.subtract(one, two)).max() <= 1e-9
    assert np.abs(np.subtract(one, mixed)).max() <= 1e-9
    assert max(one) - min(one) > 1e-3, "nothing was learned: the comparison says nothing"
