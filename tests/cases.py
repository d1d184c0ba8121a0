"""Small random models and batches for the parity tests: unequal weights, unequal lengths (1 included)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from core import reference
from core.batches import Batch, pad
from core.parameters import parameter_table
from core.spec import Experiment, replace
from core.streams import dropout_mask

VOCAB, DIM, HIDDEN = 7, 3, 3
LADDER: dict[tuple[str, str], float] = {}
"""Largest difference seen in this run by (rung and what was compared, dtype): printed at the end of the tests."""
STEP = 5
"""The training step whose dropout masks the gradient tests use."""


@dataclass(frozen=True)
class Case:
    """A point of the grid, and what the rest of the spec is changed to."""

    cell: str
    layers: int
    bidirectional: bool
    pooling: str
    lookup: str
    changes: tuple[tuple[str, object], ...] = ()

    def __str__(self) -> str:
        direction = "bi" if self.bidirectional else "one"
        more = "".join(f"-{path.rpartition('.')[2]}={value}" for path, value in self.changes)
        return f"{self.cell}-{self.layers}-{direction}-{self.pooling}-{self.lookup}{more}"

    def experiment(self, dtype: str, **changes: object) -> Experiment:
        return replace(
            Experiment(),
            {
                "model.embedding.vocab_size": VOCAB,
                "model.embedding.dim": DIM,
                "model.embedding.lookup": self.lookup,
                "model.embedding.dropout": 0.25,
                "model.encoder.cell": self.cell,
                "model.encoder.hidden_size": HIDDEN,
                "model.encoder.num_layers": self.layers,
                "model.encoder.bidirectional": self.bidirectional,
                "model.encoder.dropout": 0.25,
                "model.head.pooling": self.pooling,
                "model.head.dropout": 0.25,
                "model.head.classes": 3,
                "training.dtype": dtype,
                "training.clip_norm": 0.5,
                **dict(self.changes),
                **changes,
            },
        )


GRID = [
    Case(*point)
    for point in itertools.product(
        ("srn", "gru", "lstm"), (1, 2), (False, True), ("last", "mean", "max"), ("index", "one_hot")
    )
]

VARIANTS = [
    Case("lstm", 1, True, "mean", "index", (("model.head.hidden_size", 4),)),
    Case("gru", 1, True, "last", "index", (("model.head.hidden_size", 4), ("model.head.activation", "tanh"))),
    Case("lstm", 1, True, "max", "index", (("model.head.classes", 2), ("model.head.one_logit", True))),
    Case("srn", 2, True, "mean", "index", (("training.loss_reduction", "sum"),)),
    Case("lstm", 1, True, "mean", "index", (("model.embedding.trainable", False),)),
]
"""Choices of the spec that the grid does not turn."""


def random_parameters(experiment: Experiment, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Every array unequal everywhere, biases too; row 0 of the embedding is zero, as core keeps it.

    Small enough that few units saturate: where h is 0.9999, float32 leaves 1 - h^2 three digits, in any framework, and
    max pooling picks just these.
    """
    dtype = experiment.training.dtype
    arrays = {row.name: rng.normal(0.0, 0.35, row.shape).astype(dtype) for row in parameter_table(experiment.model)}
    arrays["embedding.weight"][0] = 0.0
    return arrays


def random_batch(experiment: Experiment, rng: np.random.Generator, rows: int = 5) -> Batch:
    """Unequal lengths, a 1 among them, in random order."""
    lengths = rng.permutation([1, 7, *rng.integers(2, 7, rows - 2)])
    ids = [rng.integers(1, experiment.model.embedding.vocab_size, length) for length in lengths]
    return pad(ids, rng.integers(0, experiment.model.head.classes, rows))


def shared_dropout(experiment: Experiment, step: int = STEP) -> reference.Dropout:
    """The reference's dropout of a training step, with the masks that core gives to every backend."""

    def dropout(x: np.ndarray, place: str, rate: float) -> np.ndarray:
        if rate == 0.0:
            return x
        return x * dropout_mask(experiment.training.seed, step, place, x.shape, rate) / (1.0 - rate)

    return dropout


def reference_loss(experiment: Experiment, arrays: dict[str, np.ndarray], batch: Batch) -> np.ndarray:
    """The training loss of step STEP, in the precision of `arrays`."""
    logits = reference.forward(experiment.model, arrays, batch, shared_dropout(experiment))["logits"]
    return reference.loss(logits, batch.labels, experiment.training.loss_reduction)


def reference_gradients(experiment: Experiment, arrays: dict[str, np.ndarray], batch: Batch) -> dict[str, np.ndarray]:
    """Derivative of the reference's loss by every entry of every trainable array, exact to rounding.

    The complex step: Im f(x + i h) / h has no difference of near numbers, so h can be 1e-40 and nothing cancels.
    """
    step = 1e-40
    values = {name: array.astype(np.complex128) for name, array in arrays.items()}
    found = {}
    for row in parameter_table(experiment.model):
        if not row.trainable:
            continue
        array, gradient = values[row.name], np.zeros(row.shape)
        for index in np.ndindex(row.shape):
            array[index] += 1j * step
            gradient[index] = reference_loss(experiment, values, batch).imag / step
            array[index] = array[index].real
        found[row.name] = gradient
    return found


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    """max|a - b| / max|b|: of one tensor, as the ladder defines it; 0 / 0 is 0."""
    scale = np.abs(wanted).max()
    difference = np.abs(found - wanted).max()
    return float(difference if scale == 0 else difference / scale)


def record(rung: str, dtype: str, difference: float) -> None:
    """Keep the largest difference of a rung for the report."""
    key = (rung, dtype)
    LADDER[key] = max(LADDER.get(key, 0.0), float(difference))
