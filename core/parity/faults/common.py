"""Faults common to all model families: word vectors, dropout, clipping, optimizer."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np

from core.parity.faults.fault import Fault, Patches


def _pad_vector(side: ModuleType) -> Patches:
    original = side.embedding.Embedding.forward

    def forward(self, inputs, dropout):
        return original(self, inputs, dropout) + (1.0 - inputs.mask) * 0.1

    return [(side.embedding.Embedding, "forward", forward)]


def _digits_by_id(side: ModuleType) -> Patches:
    original = side.embedding.Embedding.forward

    def forward(self, inputs, dropout):
        return original(self, inputs, dropout) + inputs.mask * 2.0

    return [(side.embedding.Embedding, "forward", forward)]


def _bigrams_of_next_token(side: ModuleType) -> Patches:
    original = side.runtime.bigram_ids
    return [(side.runtime, "bigram_ids", lambda ids, rows: original(ids[:, ::-1], rows)[:, ::-1])]


class _Dropout:
    """A backend's `Dropout` with a fault."""

    def __init__(self, call: Callable, keep: Callable):
        """Set what a call does, and what `keep` does for the kernels."""
        self.call, self.keep = call, keep

    def __call__(self, x, place: str, rate: float):
        return self.call(x, place, rate)


def _unscaled_dropout(side: ModuleType) -> Patches:
    original, embedding = side.engine.training_dropout, side.embedding.Embedding
    look_up_rows = embedding.look_up_rows

    def training_dropout(training, step, *more, **named):
        dropout = original(training, step, *more, **named)
        return _Dropout(lambda x, place, rate: dropout(x, place, rate) * (1.0 - rate), dropout.keep)

    def unscaled(self, *arguments):
        *others, columns = arguments
        look_up_rows(self, *others, columns._replace(rate=0.0))

    return [(side.engine, "training_dropout", training_dropout), (embedding, "look_up_rows", unscaled)]


def _same_masks_every_step(side: ModuleType) -> Patches:
    original = side.engine.training_dropout
    return [
        (side.engine, "training_dropout", lambda training, step, *more, **named: original(training, 0, *more, **named))
    ]


def _dropout_in_evaluation(side: ModuleType) -> Patches:
    original = side.engine.Engine.activations

    def activations(self, batch, step=None):
        return original(self, batch, 0 if step is None else step)

    return [(side.engine.Engine, "activations", activations)]


def _word_dropout_in_evaluation(side: ModuleType) -> Patches:
    original = side.engine.Engine.activations

    def activations(self, batch, step=None):
        return original(self, self._with_dropped_words(batch, 0) if step is None else batch, step)

    return [(side.engine.Engine, "activations", activations)]


def _one_mask_for_all_places(side: ModuleType) -> Patches:
    original = side.engine.training_dropout

    def training_dropout(training, step, *more, **named):
        dropout = original(training, step, *more, **named)
        return _Dropout(
            lambda x, place, rate: dropout(x, "embedding", rate),
            lambda place, shape, rate: dropout.keep("embedding", shape, rate),
        )

    return [(side.engine, "training_dropout", training_dropout)]


def _swapped_activation(side: ModuleType) -> Patches:
    own = side.heads.pooled.ACTIVATIONS
    return [(side.heads.pooled, "ACTIVATIONS", {**own, "tanh": own["relu"], "relu": own["tanh"]})]


def _clip_epsilon(side: ModuleType) -> Patches:
    original = side.engine.clip

    def clip(gradients, mode, limit):
        norm = original(gradients, "none", limit)
        original(gradients, mode, limit * (norm / (norm + 1e-6)))
        return norm

    return [(side.engine, "clip", clip)]


def _epsilon_in_root(side: ModuleType) -> Patches:
    original = side.engine.Engine.train_step

    def train_step(self, batch, step, learning_rate):
        values, optimizer = self.parameters(), self.training.optimizer
        original(self, batch, step, learning_rate)
        moments = self.moments()
        for name in values:
            if f"moment1/{name}" in moments:
                mean = moments[f"moment1/{name}"] / (1.0 - optimizer.beta1 ** (step + 1))
                square = moments[f"moment2/{name}"] / (1.0 - optimizer.beta2 ** (step + 1))
                update = learning_rate * mean / np.sqrt(square + optimizer.epsilon)
                values[name] = (values[name] - update).astype(values[name].dtype)
        self._model.assign(values)

    return [(side.engine.Engine, "train_step", train_step)]


def _decay_on_biases(side: ModuleType) -> Patches:
    original = side.optimizer.decay

    def decay(named, weight_decay, learning_rate):
        # `decay` recognizes biases by name.
        original({name.replace("bias", "weight-"): p for name, p in named.items()}, weight_decay, learning_rate)

    return [(side.optimizer, "decay", decay)]


def _restarted_count(side: ModuleType) -> Patches:
    original = side.engine.Engine.load

    def load(self, parameters, moments, steps):
        original(self, parameters, moments, min(steps, 1))

    return [(side.engine.Engine, "load", load)]


ADAM = {"training.optimizer": {"kind": "adam"}}
SCALAR = {"lookup": "scalar", "dim": 1, "vocab_size": 20}
DROPPING = {"model.embedding.dropout": 0.5}

FAULTS = {
    "pad-vector": Fault("the word vector of PAD is not zero", 1, "embedding", _pad_vector),
    "digits-by-id": Fault(
        "scalar look-up reads the id of a digit, not its value",
        1,
        "embedding",
        _digits_by_id,
        {"data": {"kind": "digits"}, "model.head.classes": 19, "model.embedding": SCALAR},
    ),
    "bigrams-of-next-token": Fault(
        "bigrams pair a token with the next one, instead of the one before",
        1,
        "embedding",
        _bigrams_of_next_token,
        {"model.embedding.bigrams": 50},
    ),
    "unscaled-dropout": Fault(
        "kept units are not scaled by 1 / (1 - rate)", 1, "embedding (with dropout)", _unscaled_dropout, DROPPING
    ),
    "same-masks-every-step": Fault(
        "dropout uses the masks of step 1 in every step", 3, "step 2", _same_masks_every_step, DROPPING
    ),
    "dropout-in-evaluation": Fault("dropout stays on in evaluation", 1, "embedding", _dropout_in_evaluation, DROPPING),
    "word-dropout-in-evaluation": Fault(
        "words are dropped in evaluation, too",
        1,
        "embedding",
        _word_dropout_in_evaluation,
        {"training.word_dropout": 0.5},
    ),
    "one-mask-for-all-places": Fault(
        "all places of dropout use one stream of masks",
        1,
        "head.hidden (with dropout)",
        _one_mask_for_all_places,
        {**DROPPING, "model.head.dropout": 0.5, "model.head.hidden_size": 5},
    ),
    "swapped-activation": Fault(
        "the head's hidden layer has tanh for relu",
        1,
        "head.hidden",
        _swapped_activation,
        {"model.head.hidden_size": 5},
    ),
    "clip-epsilon": Fault(
        "clipping divides by norm + 1e-6",
        3,
        "after step 1: moment1/",
        _clip_epsilon,
        {**ADAM, "training.clip_mode": "global", "training.clip_norm": 0.1},
    ),
    "epsilon-in-root": Fault(
        "Adam's epsilon is inside the square root", 3, "after step 1: embedding.weight", _epsilon_in_root, ADAM
    ),
    "decay-on-biases": Fault(
        "weight decay is applied to biases",
        3,
        "after step 1: encoder.bias_ih_l0",
        _decay_on_biases,
        {"training.optimizer": {"kind": "adam", "weight_decay": 0.1}},
    ),
    "restarted-step-count": Fault(
        "a resume keeps Adam's moments but resets its step count", 4, "step", _restarted_count, ADAM
    ),
}
