"""The complete model: spec, parameter table and NumPy reference.

Every model is the composition `embedding -> encoder -> head`; encoder and head have several families. Both backends are
verified against this reference. It computes in the precision of its parameters: float64, or complex128, for exact
derivatives in tests (complex step, Squire and Trapp 1998). It is written for readability, not speed, yet fast enough to
classify single texts without a framework.
"""

from __future__ import annotations

import math

import numpy as np
from pydantic import model_validator

from core.batch import Batch
from core.errors import UserError
from core.models.embedding import Embedding
from core.models.encoders import AnyEncoder, RecurrentEncoder
from core.models.encoders.encoder import Encoded, Places
from core.models.heads import AnyHead, PooledHead
from core.models.parameters import Parameter
from core.models.precision import Rounding, exactly
from core.models.types import Arrays, Dropout, no_dropout
from core.rng import generator
from core.schema import Spec


class Model(Spec):
    embedding: Embedding = Embedding()
    encoder: AnyEncoder = RecurrentEncoder()
    head: AnyHead = PooledHead()

    @model_validator(mode="after")
    def _head_fits(self):
        self.head.check_encoder(self.encoder)
        return self

    @property
    def features(self) -> int:
        """Number of features F of the head's input."""
        return self.encoder.output_size(self.embedding.output_size)

    def describe(self) -> str:
        """Describe embedding, encoder and head with their sizes in one line."""
        return ", ".join(part.describe() for part in (self.embedding, self.encoder, self.head))


def parameter_table(model: Model) -> list[Parameter]:
    """Return the rows of all parameters, in the order of the forward pass."""
    return [
        *model.embedding.parameters(),
        *model.encoder.parameters(model.embedding.output_size),
        *model.head.parameters(model.features),
    ]


def parameter_count(model: Model) -> int:
    """Return the number of values in all parameters."""
    return sum(math.prod(row.shape) for row in parameter_table(model))


def initial_parameters(model: Model, seed: int, dtype: str) -> dict[str, np.ndarray]:
    """Draw initial values in float64 by generators keyed by (seed, name), then cast to `dtype`.

    Both backends start from identical bits. Adding a parameter to the table changes no other parameter.
    """
    return {
        row.name: row.draw(generator(seed, "parameter", row.drawn_as or row.name)).astype(dtype)
        for row in parameter_table(model)
    }


def check_parameters(arrays: dict[str, np.ndarray], model: Model, where: str) -> None:
    """Check arrays against the parameter table.

    Raises UserError naming the first array that is missing, unknown, of another shape, not float32 or float64, or
    that holds NaN or infinity.
    """
    expected = {row.name: row.shape for row in parameter_table(model)}
    for name, shape in expected.items():
        if name not in arrays:
            raise UserError(f"{where}: parameter {name} is missing: restore the file, or use one of this model")
        if arrays[name].shape != shape:
            raise UserError(
                f"{where}: parameter {name}: got shape {list(arrays[name].shape)}, expected {list(shape)}:"
                " use a file of this model"
            )
        if arrays[name].dtype not in (np.float32, np.float64):
            raise UserError(
                f"{where}: parameter {name}: got dtype {arrays[name].dtype}, expected float32 or float64:"
                " use a file of this model"
            )
        if not np.isfinite(arrays[name]).all():
            raise UserError(
                f"{where}: parameter {name} has NaN or infinite values: restore the file, or train with a lower"
                " `training.optimizer.learning_rate`"
            )
    for name in arrays:
        if name not in expected:
            raise UserError(f"{where}: parameter {name} is not in the spec: use a file of this model")


def product_weights(model: Model) -> list[str]:
    """Return the parameters used in matrix products: all but biases, embedding tables and what is added."""
    return [row.name for row in parameter_table(model) if not (row.is_bias or row.looked_up or row.added)]


def dropout_places(model: Model, rows: int, width: int, outputs: int | None = None) -> Places:
    """Return shape and rate of every dropout place, for a batch of `rows` sequences of `width`.

    `outputs` is the width of the head's places (`Head.output_width`), by default that of the sequences.
    """
    places = {
        **model.embedding.dropout_places(rows, width),
        **model.encoder.dropout_places(rows, width, model.embedding.output_size),
        **model.head.dropout_places(rows, width if outputs is None else outputs, model.features),
    }
    return {place: (shape, rate) for place, (shape, rate) in places.items() if rate > 0.0}


def forward(
    model: Model, parameters: Arrays, batch: Batch, dropout: Dropout = no_dropout, rounded: Rounding = exactly
) -> Arrays:
    """Return every layer's output by name, like `core.engine.contract.Engine.activations`.

    `rounded` is applied to the weights and inputs of matrix products (`core.models.precision.rounding_of`).
    """
    x, encoded = encode(model, parameters, batch, dropout, rounded)
    return {"embedding": x, **encoded.layers, **model.head.forward(parameters, encoded, batch, dropout, rounded)}


def margin(model: Model, parameters: Arrays, batch: Batch, dropout: Dropout, rounded: Rounding) -> float:
    """Return the distance of the model from the nearest kink on this batch.

    It is the smallest gap between the two largest values in max pooling, or the smallest distance of a ReLU input from
    zero. If it is below rounding error, two frameworks may validly take different sides.
    """
    _, encoded = encode(model, parameters, batch, dropout, rounded)
    return model.head.margin(parameters, encoded, batch, dropout, rounded)


def encode(
    model: Model, parameters: Arrays, batch: Batch, dropout: Dropout, rounded: Rounding
) -> tuple[np.ndarray, Encoded]:
    """Return the word vectors [B, L, E] and the output of the encoder."""
    x = model.embedding.forward(parameters, batch, dropout)
    return x, model.encoder.forward(parameters, x, batch, dropout, rounded)
