"""What a spec computes, in NumPy: the definition that both frameworks are held against.

One step of one cell at a time, in the precision of the parameters it is given: float64, or complex128, through which
tests take exact derivatives (Squire and Trapp 1998, the complex step). Written to be read, not to be fast; it is quick
enough to classify a sentence where no framework is installed.

Notation: x_t [B, I], h and c [B, H], W = `weight_ih`, U = `weight_hh`. Equations as in nndl chapter 6 and the
documentation of both frameworks; GRU with the reset gate applied after the recurrent product.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from core.batches import Batch, real_mask
from core.parameters import direction_suffixes
from core.precision import Rounding, exactly
from core.spec import Embedding, Model, PooledHead, RecurrentEncoder

Arrays = dict[str, np.ndarray]
Dropout = Callable[[np.ndarray, str, float], np.ndarray]


def no_dropout(x: np.ndarray, place: str, rate: float) -> np.ndarray:
    return x


def sigmoid(x: np.ndarray) -> np.ndarray:
    # Through tanh, which neither overflows nor loses the imaginary part of a complex step.
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def forward(
    model: Model, parameters: Arrays, batch: Batch, dropout: Dropout = no_dropout, rounded: Rounding = exactly
) -> Arrays:
    """Every layer's output by name, as `core.contract.Engine.activations` gives them.

    `rounded` is applied to the weights and inputs of matrix products (`core.precision.rounding_of` the spec's dtype).
    """
    found = {"embedding": dropout(embed(model.embedding, parameters, batch), "embedding", model.embedding.dropout)}
    x = found["embedding"]
    for layer in range(model.encoder.num_layers):
        if layer > 0:
            x = dropout(x, f"encoder.l{layer - 1}", model.encoder.dropout)
        x = found[f"encoder.l{layer}"] = recurrent_layer(model.encoder, parameters, x, batch.lengths, layer, rounded)
    return {**found, **classify(model.head, parameters, x, batch, model.encoder.hidden_size, dropout, rounded)}


def embed(embedding: Embedding, parameters: Arrays, batch: Batch) -> np.ndarray:
    """ids [B, L] -> [B, L, E]; PAD (id 0) is the zero vector whatever row 0 holds."""
    weight = parameters["embedding.weight"]
    if embedding.lookup == "one_hot":
        one_hot = np.eye(embedding.vocab_size)[batch.ids]  # [B, L, V]
        vectors = one_hot @ weight
    else:
        vectors = weight[batch.ids]
    return vectors * (batch.ids != 0)[:, :, None]


def recurrent_layer(
    encoder: RecurrentEncoder,
    parameters: Arrays,
    x: np.ndarray,
    lengths: np.ndarray,
    layer: int,
    rounded: Rounding = exactly,
) -> np.ndarray:
    """x [B, L, I] -> [B, L, H * directions]; past a length the state stops and the output is zero.

    The reverse direction walks from the right: before the last real token its state is still zero.
    """
    x, sides = rounded(x), []
    for suffix in direction_suffixes(encoder.bidirectional):
        weights = layer_weights(parameters, layer, suffix, rounded)
        walk = range(x.shape[1]) if suffix == "" else reversed(range(x.shape[1]))
        hidden = np.zeros((x.shape[0], encoder.hidden_size), dtype=x.dtype)
        cell = np.zeros_like(hidden)
        outputs = np.zeros((*x.shape[:2], encoder.hidden_size), dtype=x.dtype)
        for t in walk:
            real = (t < lengths)[:, None]
            new_hidden, new_cell = CELLS[encoder.cell](x[:, t], hidden, cell, *weights)
            hidden, cell = np.where(real, new_hidden, hidden), np.where(real, new_cell, cell)
            outputs[:, t] = np.where(real, new_hidden, 0.0)
        sides.append(outputs)
    return np.concatenate(sides, axis=-1)


WEIGHT_KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def layer_weights(parameters: Arrays, layer: int, suffix: str, rounded: Rounding = exactly) -> list[np.ndarray]:
    """Of one direction, in the order of `WEIGHT_KINDS`, as a step reads them."""
    weight_ih, weight_hh, *biases = (parameters[f"encoder.{kind}_l{layer}{suffix}"] for kind in WEIGHT_KINDS)
    return [rounded(weight_ih), rounded(weight_hh), *biases]


def srn_step(x, hidden, cell, weight_ih, weight_hh, bias_ih, bias_hh):
    """h' = tanh(W x + b_ih + U h + b_hh)"""
    return np.tanh(x @ weight_ih.T + bias_ih + hidden @ weight_hh.T + bias_hh), cell


def residual_srn_step(x, hidden, cell, weight_ih, weight_hh, bias_ih, bias_hh):
    """h' = h + tanh(W x + b_ih + U h + b_hh): nndl, chapter 6, against vanishing gradients."""
    step, _ = srn_step(x, hidden, cell, weight_ih, weight_hh, bias_ih, bias_hh)
    return hidden + step, cell


def lstm_step(x, hidden, cell, weight_ih, weight_hh, bias_ih, bias_hh):
    """c' = f c + i g, h' = o tanh(c'), gates in the order i, f, g, o."""
    gates = x @ weight_ih.T + bias_ih + hidden @ weight_hh.T + bias_hh
    i, f, g, o = np.split(gates, 4, axis=-1)
    new_cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(new_cell), new_cell


def gru_step(x, hidden, cell, weight_ih, weight_hh, bias_ih, bias_hh):
    """n = tanh(W_n x + b + r (U_n h + b)), h' = (1 - z) n + z h, gates in the order r, z, n."""
    r_x, z_x, n_x = np.split(x @ weight_ih.T + bias_ih, 3, axis=-1)
    r_h, z_h, n_h = np.split(hidden @ weight_hh.T + bias_hh, 3, axis=-1)
    r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
    n = np.tanh(n_x + r * n_h)
    return (1.0 - z) * n + z * hidden, cell


CELLS = {"srn": srn_step, "lstm": lstm_step, "gru": gru_step, "residual_srn": residual_srn_step}


def classify(
    head: PooledHead,
    parameters: Arrays,
    x: np.ndarray,
    batch: Batch,
    split: int,
    dropout: Dropout,
    rounded: Rounding = exactly,
) -> Arrays:
    """x [B, L, F] -> `pooled` [B, F], `head.hidden` [B, F'] where there is one, `logits` [B, outputs]."""
    found = {"pooled": pool(head.pooling, x, batch, split)}
    features = dropout(found["pooled"], "head.pooled", head.dropout)
    if head.hidden_size is not None:
        hidden = rounded(features) @ rounded(parameters["head.hidden.weight"]).T + parameters["head.hidden.bias"]
        found["head.hidden"] = np.tanh(hidden) if head.activation == "tanh" else np.where(hidden.real > 0, hidden, 0.0)
        features = dropout(found["head.hidden"], "head.hidden", head.dropout)
    found["logits"] = rounded(features) @ rounded(parameters["head.weight"]).T + parameters["head.bias"]
    return found


def pool(pooling: str, x: np.ndarray, batch: Batch, split: int) -> np.ndarray:
    """x [B, L, F] -> [B, F], over real tokens; the first `split` columns are the forward direction's."""
    if pooling == "mean":
        return x.sum(axis=1) / batch.lengths[:, None]
    if pooling == "max":
        position = np.where(real_mask(batch)[:, :, None], x.real, -np.inf).argmax(axis=1)  # [B, F]
        return np.take_along_axis(x, position[:, None, :], axis=1)[:, 0]
    rows = np.arange(len(x))
    return np.concatenate([x[rows, batch.lengths - 1, :split], x[:, 0, split:]], axis=-1)


def loss(logits: np.ndarray, labels: np.ndarray, reduction: str, class_weights: np.ndarray | None = None) -> np.ndarray:
    """Cross-entropy of logits [B, C], or binary cross-entropy of one logit [B, 1]: a scalar.

    With `class_weights` [C] each text's is multiplied by its class's. The mean divides by B, not by the sum of weights
    as both frameworks' own does: a text counts so many times whatever its company, and parts of a batch can be added.
    """
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    shifted = logits - logits.real.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    if class_weights is not None:
        losses = losses * class_weights[labels]
    return losses.mean() if reduction == "mean" else losses.sum()


class ReferenceEngine:
    """Evaluation without a framework: the part of `core.contract.Engine` that needs no gradient, in float64."""

    device = "cpu"
    implementation = "reference"

    def __init__(self, model: Model, parameters: Arrays, rounded: Rounding = exactly) -> None:
        self.model, self.rounded = model, rounded
        self._parameters = {name: array.astype(np.float64) for name, array in parameters.items()}

    def logits(self, batch: Batch) -> np.ndarray:
        """[B, outputs] float64."""
        return forward(self.model, self._parameters, batch, rounded=self.rounded)["logits"]
