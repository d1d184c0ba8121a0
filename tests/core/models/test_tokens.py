"""The tagging head: NumPy reference against a plain loop, both frameworks against it, masks, and evaluation."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import backends
from core.analysis.tag_occlusion import explain_tag
from core.batch import UNK, Ragged, pad
from core.data.dataset import Dataset, check_dataset
from core.engine.executor import Executor
from core.engine.processes import SINGLE_PROCESS
from core.engine.reference import ReferenceEngine
from core.errors import UserError
from core.models.model import forward
from core.parity.instances import random_batch, random_parameters
from core.spec.experiment import Experiment, replace
from core.train.metrics import evaluate
from core.train.tagging import tag
from tests.conftest import loaded

TAGGER = replace(
    Experiment(),
    {
        "model.head": {"kind": "tokens", "classes": 4, "hidden_size": 5, "activation": "tanh"},
        "model.embedding.vocab_size": 9,
        "model.embedding.dim": 3,
        "model.encoder.hidden_size": 2,
        "training.dtype": "float64",
    },
)


def a_dataset(rng: np.random.Generator, texts: int = 9) -> Dataset:
    """Texts of unequal lengths, 1 included, with random tags."""
    lengths = rng.permutation([1, 7, *rng.integers(1, 7, texts - 2)])
    sequences = [rng.integers(1, 9, length) for length in lengths]
    tags = Ragged.of([rng.integers(0, 4, length) for length in lengths])
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    names = [f"text {number}" for number in range(texts)]
    return Dataset(np.concatenate(sequences).astype(np.int32), offsets, {"tags": tags}, names, tuple("BMES"))


def test_logits_are_those_of_every_token_alone(rng):
    parameters = random_parameters(TAGGER, rng)
    batch = random_batch(TAGGER, rng)
    found = forward(TAGGER.model, parameters, batch)
    for row, length in enumerate(batch.lengths):
        for t in range(batch.ids.shape[1]):
            hidden = np.tanh(
                parameters["head.hidden.weight"] @ found["encoder.l0"][row, t] + parameters["head.hidden.bias"]
            )
            wanted = (parameters["head.weight"] @ hidden + parameters["head.bias"]) * (t < length)
            assert np.allclose(found["logits"][row, t], wanted, atol=1e-14)


def test_padding_changes_nothing(rng):
    parameters = random_parameters(TAGGER, rng)
    data = a_dataset(rng)
    together, alone = data.batch(np.arange(len(data))), [data.batch(np.array([row])) for row in range(len(data))]
    head = TAGGER.model.head
    logits = forward(TAGGER.model, parameters, together)["logits"]
    losses = head.losses({"logits": logits}, together)
    assert head.counted(together) == data.lengths.sum()
    for row, batch in enumerate(alone):
        own = forward(TAGGER.model, parameters, batch)["logits"]
        assert np.abs(logits[row, : data.lengths[row]] - own[0]).max() < 1e-14
        assert np.abs(losses[row].sum() - head.losses({"logits": own}, batch).sum()) < 1e-13


@pytest.mark.parametrize("name", backends.NAMES)
def test_evaluation_is_that_of_the_reference(name, rng, monkeypatch):
    side, data = loaded(name), a_dataset(rng, 11)
    monkeypatch.setattr("core.train.metrics.EVALUATION_BATCH", 4)
    parameters = random_parameters(TAGGER, rng)
    engine = side.Engine(TAGGER.model, TAGGER.training, parameters, Executor("cpu", "loop"))
    check_dataset(data, TAGGER.model)
    found, wanted = (
        evaluate(own, TAGGER.model.head, data) for own in (engine, ReferenceEngine(TAGGER.model, parameters))
    )
    assert found.loss == pytest.approx(wanted.loss, abs=1e-12)
    assert np.array_equal(found.predicted, wanted.predicted)
    for row in range(len(data)):  # the predictions of a text are at its place
        own = forward(TAGGER.model, parameters, data.batch(np.array([row])))["logits"][0].argmax(axis=1)
        assert np.array_equal(Ragged(found.predicted, data.offsets)[row], own)
    labels, predicted = found.strings(data.targets, data.classes)
    right = sum(a == b for one, two in zip(labels, predicted, strict=True) for a, b in zip(one, two, strict=True))
    spaces = sum(text.count(" ") for text in labels)
    assert (right - spaces) / data.lengths.sum() == pytest.approx(found.accuracy)


def test_wrong_numbers_of_tags_are_named(rng):
    data = a_dataset(rng, 3)
    tags = Ragged.of([np.zeros(length, np.int64) for length in data.lengths + [0, 1, 0]])
    with pytest.raises(UserError, match=f"text 2: got {data.lengths[1] + 1} tags for {data.lengths[1]} tokens"):
        check_dataset(Dataset(data.tokens, data.offsets, {"tags": tags}, data.names), TAGGER.model)
    large = Ragged(np.full(data.lengths.sum(), 4), data.offsets)
    with pytest.raises(UserError, match=r"expected tags in 0\.\.3, got 4\.\.4"):
        check_dataset(Dataset(data.tokens, data.offsets, {"tags": large}, data.names), TAGGER.model)


def test_a_batch_pads_tags_beside_ids(rng):
    data = a_dataset(rng)
    rows = rng.permutation(len(data))[:4]
    batch, tags = data.batch(rows), data.targets["tags"]
    assert isinstance(tags, Ragged)
    for place, row in enumerate(rows):
        assert np.array_equal(batch.targets["tags"][place, : data.lengths[row]], tags[row])
        assert not batch.targets["tags"][place, data.lengths[row] :].any()
    assert pad([np.array([1])], {}).targets == {}
    first = data.first(3)
    assert len(first) == 3
    assert np.array_equal(first.targets["tags"].lengths, data.lengths[:3])


class Silent:
    """A process group whose other members add nothing: what comes back is one process's share."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank = self.local_rank = rank
        self.size = size

    def all_reduce(self, tensor: object) -> None:
        pass


@pytest.mark.parametrize("crf", [False, True])
@pytest.mark.parametrize("name", backends.NAMES)
def test_gradients_of_shards_add_up(name, crf, rng):
    """The divisor is the number of real tokens of the whole batch, in every process."""
    side, experiment = loaded(name), replace(TAGGER, {"model.head.crf": crf, "model.head.dropout": 0.3})
    parameters, batch = random_parameters(experiment, rng), random_batch(experiment, rng, rows=5)

    def gradients(group):
        executor = Executor("cpu", "loop", group)
        return side.Engine(experiment.model, experiment.training, parameters, executor).gradients(batch, 3)

    loss, whole = gradients(SINGLE_PROCESS)
    for size in (2, 7):  # 7: some processes have no row
        shards = [gradients(Silent(rank, size)) for rank in range(size)]
        assert sum(own for own, _ in shards) == pytest.approx(loss, abs=1e-12)
        for key, gradient in whole.items():
            assert np.abs(sum(own[key] for _, own in shards) - gradient).max() < 1e-12, key


@pytest.mark.parametrize("name", backends.NAMES)
def test_crf_evaluation_is_that_of_the_reference(name, rng):
    """Viterbi is in NumPy; a framework's logits give the same tags, losses and margins."""
    experiment = replace(TAGGER, {"model.head.crf": True})
    side, data, head = loaded(name), a_dataset(rng, 11), experiment.model.head
    parameters = random_parameters(experiment, rng)
    # Each tag wants another one after it, so the best tags are not the best sequence.
    parameters["head.transitions"] = 10.0 * np.roll(np.eye(4), 1, axis=1) + rng.normal(size=(4, 4))
    engine = side.Engine(experiment.model, experiment.training, parameters, Executor("cpu", "loop"))
    found, wanted = (evaluate(own, head, data) for own in (engine, ReferenceEngine(experiment.model, parameters)))
    assert found.loss == pytest.approx(wanted.loss, abs=1e-12)
    assert np.array_equal(found.predicted, wanted.predicted)
    assert np.abs(found.margins - wanted.margins).max() < 1e-12
    logits = engine.logits(data.batch(np.arange(len(data))))
    alone = np.concatenate([own[:length].argmax(axis=1) for own, length in zip(logits, data.lengths, strict=True)])
    assert (found.predicted != alone).any()
    batch = data.batch(np.arange(len(data)))
    losses = head.losses(forward(experiment.model, parameters, batch), batch)
    assert losses.sum() / data.lengths.sum() == pytest.approx(found.loss, abs=1e-12)
    assert np.allclose(found.text_losses, losses, atol=1e-12)


def test_tags_of_new_sequences_are_those_of_the_evaluation(rng):
    for crf in (False, True):
        experiment, data = replace(TAGGER, {"model.head.crf": crf}), a_dataset(rng)
        engine = ReferenceEngine(experiment.model, random_parameters(experiment, rng))
        sequences = [data.tokens[start:end] for start, end in pairwise(data.offsets)]
        found, wanted = tag(engine, experiment.model.head, sequences), evaluate(engine, experiment.model.head, data)
        assert np.array_equal(np.concatenate([own.tags for own in found]), wanted.predicted)
        assert np.allclose(np.concatenate([own.probabilities for own in found]), wanted.probabilities, atol=1e-12)


def test_hidden_token_changes_the_explained_tag(rng):
    """Each effect is the fall of the log-odds when one id becomes UNK, by hand."""
    engine, head = ReferenceEngine(TAGGER.model, random_parameters(TAGGER, rng)), TAGGER.model.head
    ids, place = rng.integers(2, 9, 5), 3
    found = explain_tag(engine, head, ids, place)

    def odds(own: np.ndarray) -> float:
        share = tag(engine, head, [own])[0].probabilities[place, found.predicted]
        return float(np.log(share / (1 - share)))

    for other in range(5):
        hidden = np.where(np.arange(5) == other, UNK, ids)
        assert found.effects[other] == pytest.approx(odds(ids) - odds(hidden), abs=1e-9)


def test_class_weights_are_refused_with_a_crf():
    with pytest.raises(UserError, match=r"class_weights` is not supported with `model\.head\.crf`"):
        replace(TAGGER, {"model.head.crf": True, "training.class_weights": (1.0, 1.0, 1.0, 2.0)})
