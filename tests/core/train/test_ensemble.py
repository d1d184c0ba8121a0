"""Models side by side are the models that they would be alone: gradients, training, evaluation, and the data."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import backends
from backends import implementations
from core.batch import Batch
from core.data.dataset import Prepared
from core.data.stack import Stack
from core.data.vocabulary import Vocabulary
from core.engine.executor import Executor
from core.errors import UserError
from core.models.encoders.recurrent import RecurrentEncoder
from core.models.model import Model, initial_parameters, parameter_table
from core.parity.instances import random_parameters
from core.spec.experiment import Experiment, replace
from core.train.ensemble import (
    EnsembleSession,
    EnsembleState,
    evaluate_each,
    steps_from,
    train_together,
)
from core.train.members import Member, check_members, starting_values
from core.train.metrics import evaluate
from core.train.optimizer_state import moment_kinds
from core.train.steps import steps_from as steps_alone
from tests.conftest import INSTALLED, each_backend, make_dataset
from tests.ngram_texts import with_ngrams_of
from tests.pairwise import pairwise

VOCAB, ROWS = 9, 21


BASE = {
    "model.embedding.vocab_size": VOCAB,
    "model.embedding.dim": 5,
    "model.encoder.hidden_size": 6,
    "model.head.pooling": "last",
    "training.batch_size": 4,
    "training.bucket_batches": 0,
    "training.epochs": 2,
    "training.eval_interval": 4,
    "training.eval_epochs": False,
    "training.dtype": "float64",
    "training.optimizer.learning_rate": 0.02,
}
VARIANTS = {
    "srn, tensor": {"model.encoder.cell": "srn", "training.clip_mode": "tensor", "training.clip_norm": 0.05},
    "residual srn, one bias": {
        "model.encoder.cell": "residual_srn",
        "model.encoder.biases": "one",
        "model.encoder.bidirectional": False,
        "training.loss_reduction": "sum",
    },
    "gru, two layers, mean": {
        "model.encoder.cell": "gru",
        "model.encoder.num_layers": 2,
        "model.head.pooling": "mean",
        "training.clip_norm": 0.1,
        "training.optimizer": {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.01},
    },
    "lstm, three residual layers": {"model.encoder.num_layers": 3, "model.encoder.residual": True},
    "lstm, ends": {"model.head.pooling": "ends"},
    "gru, attention": {"model.encoder.cell": "gru", "model.head.pooling": "attention"},
    "bag, hidden head": {"model.encoder": {"kind": "none"}, "model.head.pooling": "mean", "model.head.hidden_size": 4},
    "textcnn longer than some texts": {
        "model.encoder": {"kind": "textcnn", "kernels": (3,), "channels": (4,)},
        "model.head.pooling": "max",
    },
    "bag, one-hot": {
        "model.encoder": {"kind": "none"},
        "model.head.pooling": "mean",
        "model.embedding.lookup": "one_hot",
    },
    "lstm, hidden head, max": {
        "model.head.pooling": "max",
        "model.head.hidden_size": 4,
        "training.clip_mode": "none",
        "training.schedule.kind": "one_cycle",
    },
    "lstm, one-hot, one logit": {
        "model.embedding.lookup": "one_hot",
        "model.head.one_logit": True,
        "training.optimizer.weight_decay": 0.1,
    },
    "gru, class weights": {
        "model.encoder.cell": "gru",
        "training.class_weights": (0.6, 2.0),
        "training.clip_norm": 0.1,
    },
    "lstm, class weights, one logit, sum": {
        "model.head.one_logit": True,
        "training.class_weights": (2.0, 0.6),
        "training.loss_reduction": "sum",
    },
    "dropout": {
        "model.embedding.dropout": 0.3,
        "model.encoder.dropout": 0.3,
        "model.head.dropout": 0.3,
        "model.encoder.num_layers": 2,
    },
    "gru, n-grams": {"model.encoder.cell": "gru", "model.ngrams": {"orders": 2}},
    "word dropout": {"training.word_dropout": 0.3},
    "scalar": {"data": {"kind": "digits"}, "model.embedding.lookup": "scalar", "model.embedding.dim": 1},
}


def make_members(rng, variant: str, models: int = 3) -> list[Member]:
    """Other data and another seed each. With dropout all are of one width, which the masks' shape is."""
    members, words = [], ["<pad>", "<unk>", *map(str, range(VOCAB - 2))]
    for number in range(models):
        seed = int(rng.integers(2**32))
        experiment = replace(Experiment(), {**BASE, **VARIANTS[variant], "training.seed": seed})
        longest = 7 if variant == "dropout" else 5 + number
        sets = {part: make_dataset(rng, ROWS, VOCAB, longest) for part in ("train", "dev", "test")}
        prepared = Prepared(Vocabulary(words, [1] * VOCAB), **sets, classes=[], summary={})
        if experiment.model.ngrams is not None:
            prepared = with_ngrams_of(experiment, prepared)[1]
        members.append(Member(f"m{number}", experiment, prepared))
    return members


def build(name: str, implementation: str, members: list[Member], values=None):
    experiment = members[0].experiment
    seeds = [member.experiment.training.seed for member in members]
    values = starting_values(members) if values is None else values
    return backends.load(name).Ensemble(
        experiment.model, experiment.training, seeds, values, executor(implementation, experiment)
    )


def engine(name: str, implementation: str, member: Member, values: dict):
    experiment = member.experiment
    return backends.load(name).Engine(
        experiment.model, experiment.training, values, executor(implementation, experiment)
    )


def executor(implementation: str, experiment: Experiment) -> Executor:
    """The implementation, or `loop` for an encoder without it."""
    return Executor("cpu", implementation if implementation in experiment.model.implementations else "loop")


def close(found: np.ndarray, wanted: np.ndarray, limit: float = 1e-13) -> None:
    assert np.abs(found - wanted).max() <= limit * max(1.0, np.abs(wanted).max())


@pairwise(name=INSTALLED, implementation=implementations.SIDE_BY_SIDE, variant=VARIANTS)
def test_losses_and_gradients_equal_those_of_single_models(name, implementation, variant, rng):
    members = make_members(rng, variant)
    alone = [random_parameters(member.experiment, rng) for member in members]
    values = {key: np.stack([own[key] for own in alone]) for key in alone[0]}
    ensemble = build(name, implementation, members, values)
    stack = Stack([member.data.train for member in members])
    rows = np.stack([rng.permutation(ROWS)[:4] for _ in members])
    if variant == "dropout":
        rows[:, 0] = ROWS - 1  # the longest sequence
    losses, gradients = ensemble.gradients(stack.batch(rows), 3)
    for number, member in enumerate(members):
        loss, wanted = engine(name, implementation, member, alone[number]).gradients(
            member.data.train.batch(rows[number]), 3
        )
        close(losses[number], loss)
        assert wanted.keys() == gradients.keys()
        for key, gradient in wanted.items():
            close(gradients[key][number], gradient)
        assert not gradients.get("embedding.weight", np.zeros((3, 1)))[number, 0].any()


# Dropout masks have the width of the widest model's batch.
@pairwise(
    name=INSTALLED,
    implementation=implementations.SIDE_BY_SIDE,
    variant=[name for name in VARIANTS if name != "dropout"],
)
def test_training_equals_that_of_single_models(name, implementation, variant, rng):
    """Steps, optimiser state, norms of gradients, right answers."""
    members = make_members(rng, variant)
    ensemble = build(name, implementation, members)
    stack = Stack([member.data.train for member in members])
    for step, batch, rate in steps_from(members, stack):
        ensemble.train_step(batch, step, rate)
    stats, moments, parameters = ensemble.collect(), ensemble.moments(), ensemble.parameters()
    assert len(stats) == step + 1 == 12 and not ensemble.collect()
    found = evaluate_each(ensemble, members[0].experiment.model.head, [member.data.test for member in members])
    for number, member in enumerate(members):
        experiment = member.experiment
        values = initial_parameters(experiment.model, experiment.training.seed, "float64")
        single = engine(name, implementation, member, values)
        for step, batch, rate in steps_alone(experiment, member.data.train):
            single.train_step(batch, step, rate)
        for mine, theirs in zip(stats, single.collect(), strict=True):
            close(mine.loss[number], theirs.loss, 1e-11)
            assert int(mine.right[number]) == theirs.right
            close(np.sqrt(sum(norm[number] ** 2 for norm in mine.norms.values())), theirs.grad_norm, 1e-10)
        for key, array in single.parameters().items():
            close(parameters[key][number], array, 1e-11)
        for key, array in single.moments().items():
            close(moments[key][number], array, 1e-11)
        wanted = evaluate(single, member.experiment.model.head, member.data.test)
        close(found[number].probabilities, wanted.probabilities, 1e-11)
    table = parameter_table(members[0].experiment.model)
    kinds = moment_kinds(members[0].experiment.training.optimizer)
    trainable = [row.name for row in table if row.trainable]
    assert set(moments) == {f"{kind}/{key}" for kind, key in itertools.product(kinds, trainable)}


@pairwise(name=INSTALLED, implementation=implementations.SIDE_BY_SIDE, mode=["global", "tensor", "value"])
def test_clipping_with_one_token_a_model(name, implementation, mode, rng):
    """Nothing is added up then, and a framework may hand both biases of a layer the very same gradient."""
    members = make_members(rng, "srn, tensor")
    changes = {"training.clip_mode": mode, "training.clip_norm": 1e-3, "training.optimizer": {"kind": "sgd"}}
    members = [Member(own.name, replace(own.experiment, changes), own.data) for own in members]
    ensemble = build(name, implementation, members)
    values = {key: array.copy() for key, array in ensemble.parameters().items()}
    ids, labels = rng.integers(1, VOCAB, (3, 1)), rng.integers(0, 2, 3)
    ensemble.train_step(Batch(ids, np.ones(3, np.int64), {"label": labels}), 0, 0.5)
    found = ensemble.parameters()
    for number, member in enumerate(members):
        alone = engine(name, implementation, member, {key: array[number] for key, array in values.items()})
        alone.train_step(
            Batch(ids[number : number + 1], np.ones(1, np.int64), {"label": labels[number : number + 1]}), 0, 0.5
        )
        for key, array in alone.parameters().items():
            close(found[key][number], array)


class Watch:
    """An observer that keeps everything."""

    def __init__(self):
        self.steps, self.lines, self.states = [], [], []

    def on_steps(self, first, stats):
        assert first == len(self.steps) + 1
        self.steps += stats

    def on_evaluation(self, step, lines):
        self.lines += lines


@each_backend
def test_best_checkpoint_is_kept_and_resume_is_exact(name, rng):
    """Stopped after every number of steps and gone on with, by loop or fast: the same lines, the same best values."""
    members = make_members(rng, "srn, tensor")
    whole = Watch()
    session = EnsembleSession(members, EnsembleState.new(3))
    state = train_together(build(name, "loop", members), session, whole, lambda state: None, lambda: False)
    assert state.finished and len(whole.steps) == 12 and len(whole.lines) == 3 * 2 * 3
    for number, member in enumerate(members):
        mine = [line for line in whole.lines if line["run"] == member.name]
        dev = [line for line in mine if line["split"] == "dev"]
        assert [line["step"] for line in dev] == [4, 8, 12]
        best = max(dev, key=lambda line: (line["accuracy"], -line["loss"], -line["step"]))
        own = state.members[number]
        assert (own.best_step, own.best_score) == (best["step"], best["accuracy"]) and own.tokens > 12 * 4
        values = {key: array[number] for key, array in state.best.items()}
        again = evaluate(engine(name, "loop", member, values), member.experiment.model.head, member.data.dev)
        assert again.accuracy == best["accuracy"] and again.loss == pytest.approx(best["loss"], rel=1e-12)
        first = next(line for line in mine if line["split"] == "train")
        assert first["steps"] == 4 and first["counted"] == 16
        assert first["loss"] == pytest.approx(np.mean([step.loss[number] for step in whole.steps[:4]]), rel=1e-12)
    pieces, state, chosen = Watch(), EnsembleState.new(3), itertools.cycle(implementations.SIDE_BY_SIDE)
    values, moments, saves = starting_values(members), {}, 0
    while not state.finished:
        ensemble = build(name, next(chosen), members, values)
        ensemble.load(values, moments, state.step)
        saved = []
        stops = iter([False] * int(rng.integers(1, 4)) + [True] * 20)
        piece = Watch()
        piece.on_steps = lambda first, stats: None
        session = EnsembleSession(members, state)
        state = train_together(ensemble, session, piece, saved.append, lambda stops=stops: next(stops))
        pieces.lines += piece.lines
        values, moments, saves = ensemble.parameters(), ensemble.moments(), saves + len(saved)
    assert saves >= 3 and len(pieces.lines) == len(whole.lines)
    for mine, theirs in zip(pieces.lines, whole.lines, strict=True):
        assert mine.keys() == theirs.keys()
        for key in mine:
            assert mine[key] == (pytest.approx(theirs[key], rel=1e-10) if key == "loss" else theirs[key])


def test_unequal_models_are_refused(rng):
    members = make_members(rng, "srn, tensor", 2)
    for field, value in (("patience", 3), ("bucket_batches", 50), ("dropout_masks", "native")):
        changed = [
            Member(member.name, replace(member.experiment, {f"training.{field}": value}), member.data)
            for member in members
        ]
        with pytest.raises(UserError, match=field):
            check_members(changed)
    other = replace(members[1].experiment, {"training.optimizer.learning_rate": 0.5})
    with pytest.raises(ValueError, match="m1: its spec differs"):
        check_members([members[0], Member("m1", other, members[1].data)])
    with pytest.raises(UserError, match="`implementation` builtin: built-in layers do not support ensemble training"):
        implementations.resolve_implementation("builtin", "cpu", Model(), among=implementations.SIDE_BY_SIDE)
    with pytest.raises(UserError, match="RESIDUAL_SRN 128 supports only fast, loop: use `implementation` fast"):
        implementations.resolve_implementation("builtin", "cpu", Model(encoder=RecurrentEncoder(cell="residual_srn")))
