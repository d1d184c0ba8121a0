"""The decoder head: NumPy reference, states of the encoder, padding, decoding step by step."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import backends
from core.batch import Batch, Ragged
from core.decoding import decode
from core.engine.reference import ReferenceEngine
from core.errors import UserError
from core.models.encoders.recurrent import CELLS, GATES, DirectionWeights, recurrent_states
from core.models.heads.decoder_scores import FIXED
from core.models.model import forward, parameter_table
from core.parity.instances import random_batch, random_parameters
from core.parity.layers import Side, engine_of
from core.spec.experiment import Experiment, replace
from core.target_sequences import BOS, EOS, TARGET, decoder_batch, join_tokens
from tasks.parity.decoder_cases import DECODERS
from tests.conftest import each_backend, one_line

each_case = pytest.mark.parametrize("case", DECODERS, ids=str)


def without_dropout(case) -> Experiment:
    return case.experiment(
        "float64", **{"model.embedding.dropout": 0.0, "model.encoder.dropout": 0.0, "model.head.dropout": 0.0}
    )


def instance(case, rng):
    experiment = without_dropout(case)
    parameters = {name: 2.0 * array for name, array in random_parameters(experiment, rng).items()}
    return experiment, parameters, random_batch(experiment, rng)


def padded(batch: Batch, sources: int, targets: int) -> Batch:
    """Return the batch with so many more columns of padding."""
    target = np.pad(batch.targets[TARGET], ((0, 0), (0, targets)))
    return Batch(np.pad(batch.ids, ((0, 0), (0, sources))), batch.lengths, {TARGET: target})


def test_decoder_batch_shifts_the_target():
    target = np.array([[7, 8, EOS, 0], [EOS, 0, 0, 0], [9, 5, 6, EOS]])
    found = decoder_batch(Batch(np.ones((3, 2), np.int64), np.array([2, 1, 2]), {TARGET: target}))
    assert found.ids.tolist() == [[BOS, 7, 8, 0], [BOS, 0, 0, 0], [BOS, 9, 5, 6]]
    assert found.lengths.tolist() == [3, 1, 4]


def test_join_tokens():
    special = ("<pad>", "<unk>", "<bos>", "<eos>")
    assert join_tokens(np.array([4, 5, 4]), (*special, "a", "\u2581")) == "a a"
    assert join_tokens(np.array([4, 5, 1]), (*special, "two", "words")) == "two words <unk>"


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_states_continue_a_sequence(cell, rng):
    """Two halves with the states between them are the whole, in both directions; and padding leaves states alone."""
    weights = [
        DirectionWeights(*(rng.normal(size=(GATES[cell] * 3, *more)) for more in ((2,), (3,), (), ())))
        for _ in range(2)
    ]
    x, full = rng.normal(size=(4, 7, 2)), np.full(4, 7)
    for own, order in ((weights[:1], (slice(0, 3), slice(3, 7))),):
        whole, last = recurrent_states(cell, own, x, full)
        first, middle = recurrent_states(cell, own, x[:, order[0]], np.full(4, 3))
        second, end = recurrent_states(cell, own, x[:, order[1]], np.full(4, 4), middle)
        np.testing.assert_array_equal(np.concatenate([first, second], axis=1), whole)
        np.testing.assert_array_equal(end.h, last.h)
    lengths = np.array([1, 7, 3, 5])
    _, states = recurrent_states(cell, weights, x, lengths)
    wider, same = recurrent_states(cell, weights, np.pad(x, ((0, 0), (0, 3), (0, 0))), lengths)
    assert (states.c is None) == (cell != "lstm") and not wider[:, 7:].any()
    for one, other in zip(states, same, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(states.h[0], wider[np.arange(4), lengths - 1, :3])
    np.testing.assert_array_equal(states.h[1], wider[:, 0, 3:])


@each_case
def test_padding_changes_no_bit_of_the_reference(case, rng):
    experiment, parameters, batch = instance(case, rng)
    found = forward(experiment.model, parameters, batch)
    wide = forward(experiment.model, parameters, padded(batch, 5, 3))
    real = batch.targets[TARGET] != 0
    np.testing.assert_array_equal(wide["logits"][:, : real.shape[1]][real], found["logits"][real])
    if "attention" in found:
        sources = np.arange(wide["attention"].shape[2]) < batch.lengths[:, None]
        targets = np.pad(real, ((0, 0), (0, 3)))
        assert not wide["attention"][~(targets[:, :, None] & sources[:, None])].any()
        np.testing.assert_allclose(wide["attention"].sum(axis=2), targets, rtol=0, atol=1e-15)
    head = experiment.model.head
    assert head.counted(batch) == real.sum() == head.counted(padded(batch, 5, 3))
    losses = head.losses(wide, padded(batch, 5, 3))
    np.testing.assert_array_equal(losses[:, : real.shape[1]], head.losses(found, batch))
    assert not losses[:, real.shape[1] :].any()


@each_backend
@each_case
def test_padding_changes_no_logits_or_gradients(case, name, rng):
    experiment, parameters, batch = instance(case, rng)
    implementation = "fast" if "fast" in experiment.model.implementations else "loop"
    engine = engine_of(Side(backends.load(name), implementation), experiment, parameters)
    real = batch.targets[TARGET] != 0
    wide = padded(batch, 5, 3)
    found, padded_logits = engine.logits(batch), engine.logits(wide)[:, : real.shape[1]]
    np.testing.assert_allclose(padded_logits[real], found[real], rtol=0, atol=1e-14)
    loss, gradients = engine.gradients(batch, 0)
    wide_loss, wide_gradients = engine.gradients(wide, 0)
    assert wide_loss == pytest.approx(loss, abs=1e-13)
    for tensor, gradient in gradients.items():
        # Gradients of queries cancel: their error is relative to larger terms.
        np.testing.assert_allclose(wide_gradients[tensor], gradient, rtol=1e-10, atol=1e-13, err_msg=tensor)
    assert not gradients["target.embedding.weight"][0].any()


@each_case
def test_steps_give_the_logits_of_teacher_forcing(case, rng):
    """In the reference and in every backend, for every implementation."""
    experiment, parameters, batch = instance(case, rng)
    inputs = decoder_batch(batch)
    wanted = forward(experiment.model, parameters, batch)
    engines = [ReferenceEngine(experiment.model, parameters)]
    for name in backends.NAMES:
        if backends.installed(name):
            own = experiment.model.implementations
            engines += [engine_of(Side(backends.load(name), way), experiment, parameters) for way in own]
    for engine in engines:
        state = engine.begin_decoding(batch)
        for step in range(int(inputs.lengths.max())):
            logits, attention, state = engine.decode_step(state, inputs.ids[:, step])
            real = step < inputs.lengths
            np.testing.assert_allclose(logits[real], wanted["logits"][real, step], rtol=0, atol=1e-12)
            if attention is not None:
                np.testing.assert_allclose(attention[real], wanted["attention"][real, step], rtol=0, atol=1e-12)


@each_case
def test_all_engines_decode_the_same(case, rng):
    experiment, parameters, batch = instance(case, rng)
    wanted = {width: decode(ReferenceEngine(experiment.model, parameters), batch, 6, width) for width in (1, 3)}
    for name in backends.NAMES:
        if not backends.installed(name):
            continue
        engine = engine_of(Side(backends.load(name), "loop"), experiment, parameters)
        for width, own in wanted.items():
            found = decode(engine, batch, 6, width)
            np.testing.assert_array_equal(found.ids, own.ids)
            np.testing.assert_allclose(found.log_probabilities, own.log_probabilities, rtol=0, atol=1e-10)


def test_evaluation_counts_tokens_and_outputs(rng):
    """Exact match, token accuracy and loss of outputs that are known."""
    experiment, parameters, batch = instance(DECODERS[1], rng)
    engine, head = ReferenceEngine(experiment.model, parameters), experiment.model.head
    decoded = decode(engine, batch, head.max_output)
    # Targets: the outputs of two texts, a wrong one, and another length.
    rows = [[*decoded.row(number)[: head.max_output - 1], EOS] for number in range(len(batch.lengths))]
    rows[2] = [4, EOS] if rows[2] != [4, EOS] else [5, EOS]
    target = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for number, row in enumerate(rows):
        target[number, : len(row)] = row
    labeled = dataclasses.replace(batch, targets={TARGET: target})
    outcomes = head.evaluated(engine, labeled, {})
    assert outcomes.shape == (len(rows), FIXED + head.max_output)
    found = head.score(outcomes, {TARGET: Ragged.of([np.array(row) for row in rows])})
    same = [row[:-1] == decoded.row(number).tolist() for number, row in enumerate(rows)]
    assert found.exact_match == np.mean(same) and found.score == found.exact_match
    for length, (right, texts) in found.by_length.items():
        own = [hit for hit, row in zip(same, rows, strict=True) if len(row) - 1 == length]
        assert (right, texts) == (sum(own), len(own))
    logits = engine.logits(labeled)
    real = target != 0
    assert found.accuracy == pytest.approx((logits.argmax(-1) == target)[real].mean())
    losses = head.losses({"logits": logits}, labeled)
    assert found.loss == pytest.approx(losses.sum() / real.sum())
    assert found.figures().keys() - {"bleu"} == {"accuracy", "loss", "exact_match", "by_length"}
    assert ("bleu" in found.figures()) == any(len(row) > 4 for row in rows)
    names = ("<pad>", "<unk>", "<bos>", "<eos>", "a", "b", "c")
    labels, predicted = found.strings({TARGET: Ragged.of([np.array(row) for row in rows])}, names)
    assert [one == other for one, other in zip(labels, predicted, strict=True)] == same


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model.encoder": {"kind": "textcnn"}},
            "head.kind decoder needs a recurrent encoder, got encoder.kind",
        ),
        ({"model.head.cell": "gru"}, "head.cell is gru, but encoder.cell is lstm"),
        ({"model.head.state_size": 4}, "head.state_size is 4, but encoder.hidden_size is 3"),
        ({"model.head.bridge": "none"}, "head.bridge none needs an encoder of one direction"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_model_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(UserError) as error:
        replace(DECODERS[0].experiment("float64"), changes)
    assert message in one_line(error)


def test_parameters_have_their_names_and_shapes():
    table = {row.name: row.shape for row in parameter_table(DECODERS[1].experiment("float64").model)}
    assert {name: shape for name, shape in table.items() if not name.startswith(("encoder", "embedding"))} == {
        "target.embedding.weight": (7, 2),
        "decoder.weight_ih_l0": (12, 5),
        "decoder.weight_hh_l0": (12, 3),
        "decoder.bias_ih_l0": (12,),
        "decoder.bias_hh_l0": (12,),
        "decoder.weight_ih_l1": (12, 3),
        "decoder.weight_hh_l1": (12, 3),
        "decoder.bias_ih_l1": (12,),
        "decoder.bias_hh_l1": (12,),
        "attention.query.weight": (3, 3),
        "attention.key.weight": (3, 3),
        "attention.value.weight": (1, 3),
        "head.weight": (7, 6),
        "head.bias": (7,),
    }
    bridged = [row.name for row in parameter_table(DECODERS[0].experiment("float64").model)]
    assert {"bridge.h_l0.weight", "bridge.h_l0.bias", "bridge.c_l0.weight", "bridge.c_l0.bias"} <= set(bridged)


@each_backend
def test_shards_of_processes_add_up(name, rng):
    """Each weighs its tokens by the number of tokens of the whole batch."""
    experiment, parameters, batch = instance(DECODERS[0], rng)
    engine, head = engine_of(Side(backends.load(name), "loop"), experiment, parameters), experiment.model.head
    loss, wanted = engine.gradients(batch, 0)
    shards = [dataclasses.replace(batch.sharded(rank, 2), shard=None) for rank in (0, 1)]
    shares = [head.counted(shard) / head.counted(batch) for shard in shards]
    found = [engine.gradients(shard, 0) for shard in shards]
    assert sum(share * own for share, (own, _) in zip(shares, found, strict=True)) == pytest.approx(loss, rel=1e-12)
    for tensor, gradient in wanted.items():
        total = sum(share * own[tensor] for share, (_, own) in zip(shares, found, strict=True))
        np.testing.assert_allclose(total, gradient, rtol=1e-10, atol=1e-13, err_msg=tensor)


@each_backend
@pytest.mark.parametrize("case", [case for case in DECODERS if case.attention != "none"], ids=str)
def test_attention_at_padding_is_exactly_zero(case, name, rng):
    """Paddle's own softmax leaves 1e-28 there."""
    experiment, parameters, batch = instance(case, rng)
    wide = padded(batch, 2, 1)
    targets, sources = wide.targets[TARGET] != 0, np.arange(wide.ids.shape[1]) < wide.lengths[:, None]
    real = targets[:, :, None] & sources[:, None]
    for way in experiment.model.implementations:
        engine = engine_of(Side(backends.load(name), way), experiment, parameters)
        attention = engine.activations(wide)["attention"]
        assert not attention[~real].any() and (attention[real] > 0).all()
        _, weights, _ = engine.decode_step(engine.begin_decoding(wide), np.full(len(wide.lengths), BOS))
        assert not weights[~sources].any() and (weights[sources] > 0).all()
