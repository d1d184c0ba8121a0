"""Rungs 1 and 2 of the ladder: layers and gradients against the reference and each other.

A pairwise sample of the grid and all variants; `python -m tasks.parity --all` runs the entire grid.
"""

from __future__ import annotations

import functools
import itertools
import os
from types import SimpleNamespace

import numpy as np
import pytest

import backends
from backends import implementations
from core.batch import Batch, pad
from core.models.heads.pooled import cross_entropy
from core.models.model import forward
from core.parity import derivatives, layers
from core.parity.findings import widest
from core.parity.instances import random_batch, random_parameters, well_conditioned
from core.parity.layers import Side, compare_forward, compare_gradients, engine_of, supporting_sides
from core.spec.experiment import Experiment
from tasks.parity.cases import GRID, VARIANTS, Case
from tests.conftest import INSTALLED, each_backend
from tests.pairwise import SAMPLE, pairwise, pairwise_rows
from tests.parity.recorded import hold

SEED = int(os.environ.get("SEQTWIN_SEED", np.random.SeedSequence().entropy % 2**32))
"""Fresh in every run; `SEQTWIN_SEED=N` repeats one."""

pytestmark = pytest.mark.grid
DTYPES = ("float64", "float32")
FACTORS = {
    name: sorted({getattr(case, name) for case in GRID})
    for name in ("cell", "layers", "bidirectional", "pooling", "lookup")
}
SAMPLED = [(Case(*point), dtype) for *point, dtype in pairwise_rows({**FACTORS, "dtype": DTYPES})]
each_case = pytest.mark.parametrize(("case", "dtype"), [*SAMPLED, *itertools.product(VARIANTS, DTYPES)], ids=str)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


@pytest.fixture(autouse=True)
def seed_in_report():
    """Shown with a failure: how to repeat it."""
    print(f"SEQTWIN_SEED={SEED}")


@functools.cache
def instance(case: Case, dtype: str):
    """A spec with random parameters and a random batch: the same for every test of the case in this run."""
    rng = np.random.default_rng([SEED, hash_of(case)])
    experiment = case.experiment(dtype)
    draw = lambda: (random_parameters(experiment, rng), random_batch(experiment, rng))  # noqa: E731
    return experiment, *well_conditioned(experiment, draw)


def hash_of(case: Case) -> int:
    return sum(ord(letter) * 31**place for place, letter in enumerate(str(case))) % 2**32


IMPLEMENTATIONS = [
    name for name in implementations.IMPLEMENTATIONS if name != "fast" or implementations.why_not_fast("cpu") is None
]


def sides(experiment: Experiment) -> dict[str, Side]:
    """Every implementation in every framework."""
    found = {
        f"{name}/{implementation}": Side(backends.load(name), implementation)
        for name in INSTALLED
        for implementation in IMPLEMENTATIONS
    }
    return supporting_sides(found, experiment)


def test_compiled_layers_are_available():
    """Without them the rest would pass, and prove less."""
    assert implementations.why_not_fast("cpu") is None


def widest_difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """max|a - b| / max|b|"""
    return widest({"": found}, {"": wanted}, None)["relative"]


def new_engine(name: str, experiment: Experiment, parameters: dict[str, np.ndarray], implementation: str = "builtin"):
    return engine_of(Side(backends.load(name), implementation), experiment, parameters)


@each_case
def test_layers_equal_the_reference(case, dtype):
    experiment, parameters, batch = instance(case, dtype)
    findings = compare_forward(experiment, parameters, batch, sides(experiment))
    assert len(findings) == len(sides(experiment)) * (len(sides(experiment)) + 1) // 2
    hold(findings)
    for name, side in sides(experiment).items():
        for layer, output in engine_of(side, experiment, parameters).activations(batch).items():
            assert output.dtype == np.dtype(dtype), (name, layer)


@each_case
def test_gradients_equal_the_reference(case, dtype):
    """With the dropout of a training step, whose masks all three take from core."""
    experiment, parameters, batch = instance(case, dtype)
    hold(compare_gradients(experiment, parameters, batch, sides(experiment)))
    for name, side in sides(experiment).items():
        _, gradients = engine_of(side, experiment, parameters).gradients(batch, 0)
        assert not gradients.get("embedding.weight", np.zeros(1))[0].any(), f"{name}: PAD has a gradient"


@pytest.mark.parametrize(
    ("case", "dtype"), [(case, DTYPES[(number + SAMPLE) % 2]) for number, case in enumerate(VARIANTS)], ids=str
)
def test_directional_gradients_find_one_wrong_entry(case, dtype, monkeypatch):
    """What stands in for single entries where a model is large: it holds, and it sees one wrong entry of one tensor."""
    experiment, parameters, batch = instance(case, dtype)
    monkeypatch.setattr(layers, "ENTRYWISE", 0)
    findings = compare_gradients(experiment, parameters, batch, sides(experiment))
    assert sum("random directions" in finding.quantity for finding in findings) == len(sides(experiment))
    hold(findings)
    double = {name: array.astype(np.float64) for name, array in parameters.items()}
    shift = derivatives.perturbations(experiment, double, batch, 0)
    exact = derivatives.gradients(experiment, double, batch, 0, shift)
    # Of a rectified layer all units may be shut; the largest gradient of all is not zero.
    sizes = {name: np.abs(gradient).max() for name, gradient in exact.items()}
    largest = max(sizes, key=sizes.get)

    class Wrong:
        """A side whose gradient is that of the reference but for one entry."""

        class Engine:
            def __init__(self, *_):
                pass

            def gradients(self, batch, step):
                loss = derivatives.training_loss(experiment, double, batch, step, shift)
                found = {name: array.copy() for name, array in exact.items()}
                found[largest].flat[np.abs(found[largest]).argmax()] *= 1.1
                return float(loss), found

    wrong = compare_gradients(experiment, parameters, batch, {"wrong": Wrong})
    assert [finding.first for finding in wrong] == [largest]


def test_a_gradient_that_cancels_has_the_rounding_of_its_terms():
    """With keys of nearly 0, those of attention are rounding errors in float32; a wrong one is found nevertheless."""
    case = next(case for case in VARIANTS if str(case) == "decoder-lstm-2-one-additive-every-none")
    experiment, parameters, batch = instance(case, "float32")
    parameters = {**parameters, "attention.key.weight": parameters["attention.key.weight"] * np.float32(1e-5)}
    hold(compare_gradients(experiment, parameters, batch, sides(experiment)))
    name, side = next(iter(sides(experiment).items()))
    loss, found = engine_of(side, experiment, parameters).gradients(batch, 0)
    largest = max(np.abs(gradient).max() for gradient in found.values())
    found["attention.query.weight"] += 1e-6 * largest
    wrong = SimpleNamespace(Engine=lambda *_: SimpleNamespace(gradients=lambda *_: (loss, found)))
    (finding,) = compare_gradients(experiment, parameters, batch, {name: wrong})
    assert finding.first == "attention.query.weight"


def test_complex_step_equals_central_differences():
    """The judge is judged: central differences of the same loss, to what they can give."""
    case = Case("lstm", 1, True, "max", "index")
    experiment, parameters, batch = instance(case, "float64")
    rng = np.random.default_rng(SEED)
    for name, gradient in derivatives.gradients(experiment, parameters, batch, 0).items():
        direction = rng.normal(size=gradient.shape)
        ends = []
        for sign in (1.0, -1.0):
            moved = {**parameters, name: parameters[name] + sign * 1e-5 * direction}
            ends.append(derivatives.training_loss(experiment, moved, batch, 0))
        slope = (ends[0] - ends[1]) / 2e-5
        assert slope == pytest.approx((gradient * direction).sum(), rel=1e-6, abs=1e-9), name
        exact = derivatives.slope(experiment, parameters, batch, {name: direction})
        assert exact == pytest.approx((gradient * direction).sum(), rel=1e-13, abs=1e-16), name


@pairwise(**{**FACTORS, "lookup": ["index"]}, name=INSTALLED, implementation=IMPLEMENTATIONS)
def test_padding_changes_no_logits_or_gradients(cell, layers, bidirectional, pooling, lookup, name, implementation):
    """More PAD columns, and the same rows in another order, change neither predictions nor gradients."""
    case = Case(cell, layers, bidirectional, pooling, lookup)
    experiment, parameters, batch = instance(case, "float64")
    # Dropout masks depend on the width of the batch: without it, nothing may.
    experiment = case.experiment(
        "float64", **{"model.embedding.dropout": 0.0, "model.encoder.dropout": 0.0, "model.head.dropout": 0.0}
    )
    engine = new_engine(name, experiment, parameters, implementation)
    order = np.random.default_rng(SEED).permutation(len(batch.labels))
    wider = np.pad(batch.ids, ((0, 0), (0, 4)))[order]
    padded = Batch(wider, batch.lengths[order], {"label": batch.labels[order]})
    np.testing.assert_allclose(engine.logits(padded), engine.logits(batch)[order], rtol=0, atol=1e-15)
    loss, wanted = engine.gradients(batch, 0)
    padded_loss, found = engine.gradients(padded, 0)
    assert padded_loss == pytest.approx(loss, abs=1e-15)
    for tensor, gradient in found.items():
        assert widest_difference(gradient, wanted[tensor]) <= 1e-14, tensor
    # A sequence alone, without any padding, has the same logits.
    for row, length in enumerate(batch.lengths):
        alone = Batch(
            batch.ids[row : row + 1, :length], batch.lengths[row : row + 1], {"label": batch.labels[row : row + 1]}
        )
        np.testing.assert_allclose(engine.logits(alone)[0], engine.logits(batch)[row], rtol=0, atol=1e-15)


@pytest.mark.skipif("torch" not in INSTALLED, reason="torch is not installed")
@pytest.mark.parametrize("cell", ["srn", "gru", "lstm"])
@pytest.mark.parametrize("layers", [1, 2])
def test_torch_layers_equal_packed_sequences(cell, layers):
    """Packed sequences are torch's own definition of unequal lengths: outputs and every gradient."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    from backends.torch.dropout import no_dropout
    from backends.torch.encoders.recurrent import RecurrentEncoder
    from backends.torch.runtime import Inputs

    case = Case(cell, layers, True, "mean", "index")
    experiment, parameters, batch = instance(case, "float64")
    ours = RecurrentEncoder(experiment.model.encoder, experiment.model.embedding.dim, torch.float64, "builtin")
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
            output = ours(x, Inputs(batch, "float64", torch.device("cpu")), no_dropout).blocks[0].values
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
        assert widest_difference(parameter.grad.numpy(), theirs.numpy()) <= 1e-13, name


@pytest.mark.skipif("paddle" not in INSTALLED, reason="paddle is not installed")
@pytest.mark.parametrize("cell", ["srn", "gru", "lstm"])
def test_paddle_layers_equal_its_sequence_length(cell):
    """The same against Paddle's own handling of lengths."""
    from backends.paddle.dropout import no_dropout
    from backends.paddle.encoders.recurrent import RecurrentEncoder
    from backends.paddle.framework import paddle
    from backends.paddle.runtime import Inputs

    case = Case(cell, 2, True, "mean", "index")
    experiment, parameters, batch = instance(case, "float32")
    ours = RecurrentEncoder(experiment.model.encoder, experiment.model.embedding.dim, "float32", "builtin")
    builtin = {"srn": paddle.nn.SimpleRNN, "gru": paddle.nn.GRU, "lstm": paddle.nn.LSTM}[cell]
    theirs = builtin(3, 3, num_layers=2, direction="bidirect")
    for name, parameter in ours.named().items():
        parameter.set_value(parameters[name])
        getattr(theirs, name.removeprefix("encoder.")).set_value(parameters[name])
    x = paddle.to_tensor(np.random.default_rng(SEED).normal(size=(*batch.ids.shape, 3)).astype("float32"))
    output, _ = theirs(x, sequence_length=paddle.to_tensor(batch.lengths))
    mine = ours(x, Inputs(batch, "float32", paddle.CPUPlace()), no_dropout).blocks[0].values
    assert np.abs(output.numpy() - mine.numpy()).max() <= 2e-6


@each_backend
@each_dtype
@pytest.mark.parametrize("case", [Case("lstm", 1, True, "mean", "index"), VARIANTS[2]], ids=str)
def test_loss_of_a_confident_misclassification(case, dtype, name):
    """Logits hundreds apart: the loss is what it is, not what a function was written to bear; and so its gradient."""
    experiment, parameters, batch = instance(case, dtype)
    dropout = derivatives.shared_dropout(experiment, 0)
    logits = forward(experiment.model, parameters, batch, dropout)["logits"]
    spread = np.ptp(logits, axis=1).max() if logits.shape[1] > 1 else np.abs(logits).max()
    for key in ("head.weight", "head.bias"):
        parameters = {**parameters, key: (parameters[key] * (600.0 / spread)).astype(dtype)}
    exact = {key: array.astype(np.float64) for key, array in parameters.items()}
    logits = forward(experiment.model, exact, batch, dropout)["logits"]
    labels = logits.argmin(axis=1) if logits.shape[1] > 1 else (logits[:, 0] < 0).astype(np.int64)
    batch = Batch(batch.ids, batch.lengths, {"label": labels})
    assert cross_entropy(logits, labels, "sum") > 500
    loss, _ = new_engine(name, experiment, parameters).gradients(batch, 0)
    wanted = float(derivatives.training_loss(experiment, exact, batch, 0))
    assert loss == pytest.approx(wanted, rel={"float64": 1e-13, "float32": 1e-5}[dtype])
    if dtype == "float64":
        hold(compare_gradients(experiment, parameters, batch, {name: backends.load(name)}))


SRN_ANSWER, LSTM_ANSWER = (0.31774, 0.47750), (0.05944, 0.09524)


@pytest.mark.parametrize("cell, inputs, answer", [("srn", [2, 3], SRN_ANSWER), ("lstm", [2], LSTM_ANSWER)])
@pytest.mark.parametrize("name", [*INSTALLED, "reference"])
def test_hand_derivation_of_the_textbook(cell, inputs, answer, name):
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
    batch = pad([np.array(inputs)], {"label": np.array([0])})
    if name == "reference":
        found = forward(experiment.model, parameters, batch)
    else:
        found = new_engine(name, experiment, parameters).activations(batch)
    np.testing.assert_allclose(found["pooled"][0], answer, atol=5e-6)
