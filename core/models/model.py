"""A whole model: its spec, its parameter table, and what it computes, in NumPy.

`embedding -> encoder -> head` is the only composition; encoder and head are open families. Both frameworks are verified
against this definition. It computes in the precision of the parameters it is given: float64, or complex128, through
which tests take exact derivatives (Squire and Trapp 1998, the complex step). Written to be read, not to be fast; it is
quick enough to classify a sentence where no framework is installed.
"""

from __future__ import annotations

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
        """Columns F of what the head reads."""
        return self.encoder.output_size(self.embedding.output_size)

    def describe(self) -> str:
        """Name every part and its sizes in one line."""
        return ", ".join(part.describe() for part in (self.embedding, self.encoder, self.head))


def parameter_table(model: Model) -> list[Parameter]:
    """Every array of the model, in the order of the forward pass; each part names its own."""
    return [
        *model.embedding.parameters(),
        *model.encoder.parameters(model.embedding.output_size),
        *model.head.parameters(model.features),
    ]


def initial_parameters(model: Model, seed: int, dtype: str) -> dict[str, np.ndarray]:
    """Starting values, drawn in float64 by a generator keyed by (seed, name), then cast to `dtype`.

    Both backends begin with these bits, and adding a parameter to the table changes no other one.
    """
    return {
        row.name: row.draw(generator(seed, "parameter", row.drawn_as or row.name)).astype(dtype)
        for row in parameter_table(model)
    }


def check_parameters(arrays: dict[str, np.ndarray], model: Model, where: str) -> None:
    """Compare arrays with the table. Raises UserError naming the first that is missing, unknown or of another shape."""
    expected = {row.name: row.shape for row in parameter_table(model)}
    for name, shape in expected.items():
        if name not in arrays:
            raise UserError(f"{where}: parameter {name} is missing: the file is damaged or belongs to another model")
        if arrays[name].shape != shape:
            raise UserError(
                f"{where}: parameter {name} has shape {list(arrays[name].shape)}, the spec says {list(shape)}:"
                " the file belongs to another model"
            )
        if arrays[name].dtype.kind != "f":
            raise UserError(f"{where}: parameter {name} holds {arrays[name].dtype}, not numbers with a fraction")
    for name in arrays:
        if name not in expected:
            raise UserError(f"{where}: parameter {name} is not in the spec: the file belongs to another model")


def product_weights(model: Model) -> list[str]:
    """Parameters that matrix products read: all but biases and word vectors, which are looked up."""
    return [row.name for row in parameter_table(model) if not row.is_bias and not row.looked_up]


def dropout_places(model: Model, rows: int, width: int) -> Places:
    """Where a batch of `rows` sequences, `width` wide, loses units: the shape of what is dropped, and the rate."""
    places = {
        **model.embedding.dropout_places(rows, width),
        **model.encoder.dropout_places(rows, width, model.embedding.output_size),
        **model.head.dropout_places(rows, width, model.features),
    }
    return {place: (shape, rate) for place, (shape, rate) in places.items() if rate > 0.0}


def forward(
    model: Model, parameters: Arrays, batch: Batch, dropout: Dropout = no_dropout, rounded: Rounding = exactly
) -> Arrays:
    """Every layer's output by name, as `core.engine.contract.Engine.activations` gives them.

    `rounded` is applied to the weights and inputs of matrix products (`core.models.precision.rounding_of` the spec's
    dtype).
    """
    x, encoded = _encoded(model, parameters, batch, dropout, rounded)
    return {"embedding": x, **encoded.layers, **model.head.forward(parameters, encoded, dropout, rounded)}


def margin(model: Model, parameters: Arrays, batch: Batch, dropout: Dropout, rounded: Rounding) -> float:
    """How far the model is from a kink on this batch: the smallest lead of a maximum that pooling takes, or distance of
    a rectified unit from zero. Nearer than rounding, two frameworks may rightly fall on different sides of it."""
    _, encoded = _encoded(model, parameters, batch, dropout, rounded)
    return model.head.margin(parameters, model.encoder, encoded, dropout, rounded)


def _encoded(
    model: Model, parameters: Arrays, batch: Batch, dropout: Dropout, rounded: Rounding
) -> tuple[np.ndarray, Encoded]:
    x = model.embedding.forward(parameters, batch, dropout)
    return x, model.encoder.forward(parameters, x, batch, dropout, rounded)
