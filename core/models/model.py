"""A whole model: its spec, its parameter table, and what it computes, in NumPy.

Both frameworks are verified against this definition. It computes in the precision of the parameters it is given:
float64, or complex128, through which tests take exact derivatives (Squire and Trapp 1998, the complex step). Written to
be read, not to be fast; it is quick enough to classify a sentence where no framework is installed.
"""

from __future__ import annotations

import numpy as np

from core.batch import Batch
from core.errors import UserError
from core.models.embedding import Embedding, embed
from core.models.encoders.recurrent import GATES, RecurrentEncoder, direction_suffixes, recurrent_layer
from core.models.heads.pooled import PooledHead, classify
from core.models.parameters import Parameter, _draw, _linear
from core.models.precision import Rounding, exactly
from core.models.types import Arrays, Dropout, no_dropout
from core.rng import generator
from core.schema import Spec


class Model(Spec):
    embedding: Embedding = Embedding()
    encoder: RecurrentEncoder = RecurrentEncoder()
    head: PooledHead = PooledHead()


def parameter_table(model: Model) -> list[Parameter]:
    """Every array of the model, in the order of the forward pass.

    `embedding.weight` [V, E]; per layer k and direction (`""`, `"_reverse"`): `encoder.weight_ih_l{k}` [G*H, I],
    `encoder.weight_hh_l{k}` [G*H, H], `encoder.bias_ih_l{k}` and `encoder.bias_hh_l{k}` [G*H]; optional
    `head.hidden.weight` [F', F] and `head.hidden.bias` [F']; `head.weight` [C, F], `head.bias` [C].
    """
    embedding, encoder, head = model.embedding, model.encoder, model.head
    table = [
        Parameter(
            "embedding.weight",
            (embedding.vocab_size, embedding.dim),
            embedding.init,
            fan=embedding.dim,
            trainable=embedding.trainable,
        )
    ]
    hidden, gates = encoder.hidden_size, GATES[encoder.cell]
    for layer in range(encoder.num_layers):
        inputs = encoder.layer_input_size(layer, embedding.dim)
        for suffix in direction_suffixes(encoder.bidirectional):
            for kind, shape, trainable in (
                ("weight_ih", (gates * hidden, inputs), True),
                ("weight_hh", (gates * hidden, hidden), True),
                ("bias_ih", (gates * hidden,), True),
                ("bias_hh", (gates * hidden,), encoder.biases == "two"),
            ):
                name = f"encoder.{kind}_l{layer}{suffix}"
                table.append(Parameter(name, shape, encoder.init, hidden, gates, trainable))
    features = encoder.output_size
    if head.hidden_size is not None:
        table += _linear("head.hidden", head.hidden_size, features, head.init)
        features = head.hidden_size
    return table + _linear("head", head.outputs, features, head.init)


def initial_parameters(model: Model, seed: int, dtype: str) -> dict[str, np.ndarray]:
    """Starting values, drawn in float64 by a generator keyed by (seed, name), then cast to `dtype`.

    Both backends begin with these bits, and adding a parameter to the table changes no other one.
    """
    arrays = {row.name: _draw(row, generator(seed, "parameter", row.name)) for row in parameter_table(model)}
    arrays["embedding.weight"][0] = 0.0
    if model.encoder.cell == "lstm" and model.encoder.forget_bias:
        hidden = model.encoder.hidden_size
        for name, array in arrays.items():
            if name.startswith("encoder.bias_ih"):
                array[hidden : 2 * hidden] += model.encoder.forget_bias
    return {name: array.astype(dtype) for name, array in arrays.items()}


def check_parameters(arrays: dict[str, np.ndarray], model: Model, where: str) -> None:
    """Hold arrays against the table. Raises UserError naming the first that is missing, unknown or of another shape."""
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
    return [row.name for row in parameter_table(model) if not row.is_bias and row.name != "embedding.weight"]


def dropout_places(model: Model, rows: int, width: int) -> dict[str, tuple[tuple[int, ...], float]]:
    """Where a batch of `rows` sequences, `width` wide, loses units: the shape of what is dropped, and the rate."""
    encoder, head = model.encoder, model.head
    places = {"embedding": ((rows, width, model.embedding.dim), model.embedding.dropout)}
    for layer in range(encoder.num_layers - 1):
        places[f"encoder.l{layer}"] = (rows, width, encoder.output_size), encoder.dropout
    places["head.pooled"] = (rows, encoder.output_size), head.dropout
    if head.hidden_size is not None:
        places["head.hidden"] = (rows, head.hidden_size), head.dropout
    return {place: (shape, rate) for place, (shape, rate) in places.items() if rate > 0.0}


def forward(
    model: Model, parameters: Arrays, batch: Batch, dropout: Dropout = no_dropout, rounded: Rounding = exactly
) -> Arrays:
    """Every layer's output by name, as `core.engine.contract.Engine.activations` gives them.

    `rounded` is applied to the weights and inputs of matrix products (`core.models.precision.rounding_of` the spec's
    dtype).
    """
    found = {"embedding": dropout(embed(model.embedding, parameters, batch), "embedding", model.embedding.dropout)}
    x = found["embedding"]
    for layer in range(model.encoder.num_layers):
        if layer > 0:
            x = dropout(x, f"encoder.l{layer - 1}", model.encoder.dropout)
        x = found[f"encoder.l{layer}"] = recurrent_layer(model.encoder, parameters, x, batch.lengths, layer, rounded)
    return {**found, **classify(model.head, parameters, x, batch, model.encoder.hidden_size, dropout, rounded)}
