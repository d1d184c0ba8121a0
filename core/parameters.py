"""The parameter table: what every array of a model is called, its shape, and how it starts.

Layouts are those that `torch.nn.LSTM` and `paddle.nn.LSTM` share: gate blocks stacked along the first axis (LSTM
i, f, g, o; GRU r, z, n with the reset gate applied after the recurrent product), linear weights `[out, in]`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.errors import UserError
from core.spec import GATES, Adam, Init, Model, Optimizer
from core.streams import generator


@dataclass(frozen=True)
class Parameter:
    """One row of the table. `fan` scales `fan_uniform`; `blocks` gate matrices are stacked along axis 0."""

    name: str
    shape: tuple[int, ...]
    init: Init
    fan: int
    blocks: int = 1
    trainable: bool = True

    @property
    def is_bias(self) -> bool:
        return len(self.shape) == 1


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


def direction_suffixes(bidirectional: bool) -> tuple[str, ...]:
    """Name suffix of each direction, forward first."""
    return ("", "_reverse") if bidirectional else ("",)


def _linear(name: str, outputs: int, inputs: int, init: Init) -> list[Parameter]:
    return [
        Parameter(f"{name}.weight", (outputs, inputs), init, fan=inputs),
        Parameter(f"{name}.bias", (outputs,), init, fan=inputs),
    ]


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


def _draw(row: Parameter, rng: np.random.Generator) -> np.ndarray:
    scheme, scale = row.init.scheme, row.init.scale
    if row.is_bias and not row.trainable:
        return np.zeros(row.shape)
    if scheme == "fan_uniform":
        bound = scale / np.sqrt(row.fan)
        return rng.uniform(-bound, bound, row.shape)
    if row.is_bias:
        return np.zeros(row.shape)
    if scheme == "normal":
        return rng.normal(0.0, scale, row.shape)
    if scheme == "uniform":
        return rng.uniform(-scale, scale, row.shape)
    # Each gate has a matrix of its own: stacking them must not change the fan-out that Glorot's bound sees.
    bound = scale * np.sqrt(6.0 / (row.shape[1] + row.shape[0] / row.blocks))
    return rng.uniform(-bound, bound, row.shape)


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


def moment_kinds(optimizer: Optimizer) -> tuple[str, ...]:
    """Kinds of state that the optimiser keeps per trainable parameter, under the name `KIND/PARAMETER`."""
    if isinstance(optimizer, Adam):
        return ("moment1", "moment2")
    return ("velocity",) if optimizer.momentum else ()


def check_moments(moments: dict[str, np.ndarray], model: Model, optimizer: Optimizer, where: str) -> None:
    """Hold optimiser state against the spec. Raises UserError naming what is missing or of another shape."""
    for row in parameter_table(model):
        for kind in moment_kinds(optimizer) if row.trainable else ():
            name = f"{kind}/{row.name}"
            if name not in moments or moments[name].shape != row.shape:
                raise UserError(f"{where}: optimiser state {name} {list(row.shape)} is missing or of another shape")
