"""Faults to plant in one side on purpose, so that the ladder is seen to fail: each a mistake that real ports make.

A fault replaces a few names in a backend package while it is planted. The two backends mirror each other name by name
(a test sees to it), and what is replaced is wrapped, not rewritten, so each fault is written once, in operations that
both frameworks' tensors have, and can be planted in either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np

from core.batch import Batch
from core.errors import UserError
from core.models.encoders.recurrent import GATES

Patches = list[tuple[object, str, object]]
"""(owner, name, replacement)"""


@dataclass(frozen=True)
class Fault:
    """One entry of the catalogue."""

    description: str
    rung: int
    """The lowest rung that must fail."""
    named: str
    """What the report must name there as the first tensor, or step, to differ."""
    plant: Callable[[ModuleType], Patches]
    needs: dict[str, object] = field(default_factory=dict)
    """Values of the spec without which there would be nothing to see."""


@contextmanager
def planted(side: ModuleType, name: str) -> Iterator[None]:
    """The fault is in the backend package `side` as long as this lasts; engines must be made and used within."""
    patches = fault(name).plant(side)
    before = [(owner, attribute, getattr(owner, attribute)) for owner, attribute, _ in patches]
    try:
        for owner, attribute, replacement in patches:
            setattr(owner, attribute, replacement)
        yield
    finally:
        for owner, attribute, original in before:
            setattr(owner, attribute, original)


def fault(name: str) -> Fault:
    """The catalogue's entry. Raises UserError for an unknown name."""
    if name not in FAULTS:
        raise UserError(f"unknown fault {name!r}: choose one of {', '.join(FAULTS)}")
    return FAULTS[name]


# Weights that are read wrongly.


def _reading(side: ModuleType, change: Callable[[str, np.ndarray], np.ndarray]) -> Patches:
    original = side.model.Model.assign

    def assign(self, arrays):
        original(self, {name: np.ascontiguousarray(change(name, array)) for name, array in arrays.items()})

    return [(side.model.Model, "assign", assign)]


def _swapped_gates(side: ModuleType) -> Patches:
    def change(name: str, array: np.ndarray) -> np.ndarray:
        if not name.startswith("encoder."):
            return array
        i, f, g, o = np.split(array, GATES["lstm"])
        return np.concatenate([f, i, g, o])

    return _reading(side, change)


def _transposed_weight(side: ModuleType) -> Patches:
    def change(name: str, array: np.ndarray) -> np.ndarray:
        if "weight_hh" not in name:
            return array
        gates = np.split(array, len(array) // array.shape[1])
        return np.concatenate([gate.T for gate in gates])

    return _reading(side, change)


# Padding that is seen.


def _pad_vector(side: ModuleType) -> Patches:
    original = side.embedding.Embedding.forward

    def forward(self, inputs, dropout):
        return original(self, inputs, dropout) + (1.0 - inputs.mask) * 0.1

    return [(side.embedding.Embedding, "forward", forward)]


def _as_if_all_were_real(side: ModuleType) -> tuple[Patches, dict]:
    """The encoder's inputs twice: in the dictionary those of a batch whose padding counts, with its `device`."""
    original, seen = side.engine.Inputs, {}

    def inputs_both(batch: Batch, dtype, device):
        everything = np.full_like(batch.lengths, batch.ids.shape[1])
        seen.update(inputs=original(dataclasses.replace(batch, lengths=everything), dtype, device), device=device)
        return original(batch, dtype, device)

    return [(side.engine, "Inputs", inputs_both)], seen


def _bias_on_pad(side: ModuleType) -> Patches:
    original = side.encoders.recurrent.RecurrentEncoder.forward
    patches, seen = _as_if_all_were_real(side)

    def forward(self, x, inputs, dropout):
        seen["inputs"].reversal = inputs.reversal
        return original(self, x, seen["inputs"], dropout)

    return [*patches, (side.encoders.recurrent.RecurrentEncoder, "forward", forward)]


def _mean_over_padded_length(side: ModuleType) -> Patches:
    original = side.heads.pooled.PooledHead.pool

    def pool(self, x, inputs):
        return original(self, x, inputs) * inputs.mask.sum(axis=1) / x.shape[1]

    return [(side.heads.pooled.PooledHead, "pool", pool)]


def _reverse_from_padding(side: ModuleType) -> Patches:
    forward = side.encoders.recurrent.RecurrentEncoder.forward
    patches, wrong = _as_if_all_were_real(side)

    def forward_both(self, x, inputs, dropout):
        ways = forward(self, x, inputs, dropout), forward(self, x, wrong["inputs"], dropout)
        # The second half of the features is the reverse direction's.
        reverse = (np.arange(ways[0][0].shape[-1]) >= ways[0][0].shape[-1] // 2).astype(side.runtime.to_numpy(x).dtype)
        reverse = side.runtime.to_tensor(reverse, wrong["device"])
        return [one * (1.0 - reverse) + other * inputs.mask * reverse for one, other in zip(*ways, strict=True)]

    return [*patches, (side.encoders.recurrent.RecurrentEncoder, "forward", forward_both)]


# Dropout.


def _unscaled_dropout(side: ModuleType) -> Patches:
    original = side.engine.training_dropout

    def training_dropout(training, step, *more, **named):
        dropout = original(training, step, *more, **named)
        return lambda x, place, rate: dropout(x, place, rate) * (1.0 - rate)

    return [(side.engine, "training_dropout", training_dropout)]


def _same_masks_every_step(side: ModuleType) -> Patches:
    original = side.engine.training_dropout
    return [
        (side.engine, "training_dropout", lambda training, step, *more, **named: original(training, 0, *more, **named))
    ]


# Gradients, clipping, the optimiser.


def _detached_input(side: ModuleType) -> Patches:
    original = side.encoders.recurrent.RecurrentEncoder.forward

    def forward(self, x, inputs, dropout):
        outputs = original(self, x, inputs, dropout)
        cut_off = original(self, x.detach(), inputs, dropout)
        # Half of each: the values of either, and half the gradient to what comes before.
        return [(one + other) * 0.5 for one, other in zip(outputs, cut_off, strict=True)]

    return [(side.encoders.recurrent.RecurrentEncoder, "forward", forward)]


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
        # It knows a bias by its name.
        original({name.replace("bias", "weight-"): p for name, p in named.items()}, weight_decay, learning_rate)

    return [(side.optimizer, "decay", decay)]


def _restarted_count(side: ModuleType) -> Patches:
    original = side.engine.Engine.load

    def load(self, parameters, moments, steps):
        original(self, parameters, moments, min(steps, 1))

    return [(side.engine.Engine, "load", load)]


ADAM = {"training.optimizer": {"kind": "adam"}}
BOTH_WAYS = {"model.encoder.bidirectional": True}
DROPPING = {"model.embedding.dropout": 0.5}

FAULTS = {
    "swapped-gates": Fault(
        "weights are read with the LSTM's input and forget gates in each other's place",
        1,
        "encoder.l0",
        _swapped_gates,
        {"model.encoder.cell": "lstm"},
    ),
    "transposed-weight": Fault(
        "each gate's square recurrent weight is read transposed", 1, "encoder.l0", _transposed_weight
    ),
    "pad-vector": Fault("PAD's word vector is not zero", 1, "embedding", _pad_vector),
    "bias-on-pad": Fault(
        "the recurrent layer runs on over PAD: its biases move the state, and its outputs there are not zero",
        1,
        "encoder.l0",
        _bias_on_pad,
    ),
    "mean-over-padded-length": Fault(
        "mean pooling divides by the padded length",
        1,
        "pooled",
        _mean_over_padded_length,
        {"model.head.pooling": "mean"},
    ),
    "reverse-from-padding": Fault(
        "the reverse direction starts at the padding, not at the last word",
        1,
        "encoder.l0",
        _reverse_from_padding,
        BOTH_WAYS,
    ),
    "unscaled-dropout": Fault(
        "kept units are not scaled by 1 / (1 - rate)", 1, "embedding (with dropout)", _unscaled_dropout, DROPPING
    ),
    "detached-input": Fault(
        "half the gradient to the word vectors is lost on its way through the recurrent layer",
        2,
        "embedding.weight",
        _detached_input,
        {"model.embedding.trainable": True, "model.encoder.num_layers": 1},
    ),
    "same-masks-every-step": Fault(
        "dropout draws the masks of step 1 at every step", 3, "step 2", _same_masks_every_step, DROPPING
    ),
    "clip-epsilon": Fault(
        "clipping divides by norm + 1e-6",
        3,
        "after step 1: moment1/",
        _clip_epsilon,
        {**ADAM, "training.clip_mode": "global", "training.clip_norm": 0.1},
    ),
    "epsilon-in-root": Fault(
        "Adam's epsilon stands inside the square root", 3, "after step 1: embedding.weight", _epsilon_in_root, ADAM
    ),
    "decay-on-biases": Fault(
        "weight decay takes the biases too",
        3,
        "after step 1: encoder.bias_ih_l0",
        _decay_on_biases,
        {"training.optimizer": {"kind": "adam", "weight_decay": 0.1}},
    ),
    "restarted-step-count": Fault(
        "a resume keeps Adam's moments and starts its step count over", 4, "step", _restarted_count, ADAM
    ),
}
"""Every fault that can be planted, by name."""
