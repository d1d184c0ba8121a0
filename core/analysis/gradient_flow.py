"""How much of a loss at the end of a sequence reaches the state after step t: the norms of dL/dh_t and dL/dc_t (nndl,
chapter 6)."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from core.batch import Batch
from core.models.encoders.recurrent import RecurrentEncoder
from core.models.model import Model, parameter_table, product_weights
from core.models.parameters import Parameter
from core.models.precision import Rounding, exactly
from core.models.types import Arrays


def one_layer_to_the_last_state(model: Model) -> bool:
    """Whether the loss depends on the last state of one layer alone, as `state_gradients` takes it."""
    encoder, head = model.encoder, model.head
    if not isinstance(encoder, RecurrentEncoder):
        return False
    return encoder.num_layers == 1 and not encoder.bidirectional and head.pooling == "last" and head.hidden_size is None


def state_gradients(
    side: ModuleType,
    device: str,
    implementation: str,
    model: Model,
    parameters: Arrays,
    batch: Batch,
    rounded: Rounding = exactly,
) -> dict[str, np.ndarray]:
    """Norms for every sequence's own cross-entropy, computed by the backend `side`: `h` |dL/dh_t|, [B, L] for t = 1,
    ..., L, and of an LSTM `c` |dL/dc_t|, [B, L - 1] for t = 1, ..., L - 1; each with the other state held.

    dL/dh_t is what a layer that starts with h_0 = h_t (and c_0 = c_t) and reads the rest of the sequence has as the
    gradient of h_0: so two calls of a `LayerProbe` give all of them, one over every beginning of every sequence and one
    over every rest. Sequences are of one length, L >= 2, in a model for which `one_layer_to_the_last_state` holds.
    """
    rows, length = batch.ids.shape
    if (batch.lengths != length).any() or length < 2 or not one_layer_to_the_last_state(model):
        raise ValueError("sequences of one length, 2 or more, and one layer whose last state the head reads")
    parameters = {**parameters, **{name: rounded(parameters[name]) for name in product_weights(model)}}
    x = rounded(parameters["embedding.weight"][batch.ids])  # [B, L, E]
    weights = {row.name: parameters[row.name] for row in _encoder_rows(model)}
    hidden, dtype = model.encoder.hidden_size, x.dtype
    zeros = np.zeros((1, rows * length, hidden), dtype)
    parts = ("h", "c") if model.encoder.cell == "lstm" else ("h",)

    def probe(sequences: list[np.ndarray], states: Arrays):
        """Over sequences of unequal length."""
        lengths = np.array([len(sequence) for sequence in sequences])
        padded = np.zeros((len(sequences), lengths.max(), x.shape[2]), dtype)
        for row, sequence in enumerate(sequences):
            padded[row, : len(sequence)] = sequence
        return side.LayerProbe(model.encoder, {"x": padded, **weights, **states}, lengths, device, implementation)

    beginnings = [own[: t + 1] for t in range(length) for own in x]
    found = probe(beginnings, {f"{part}_0": zeros for part in parts}).forward()
    states = {part: found[f"{part}_n"][0].reshape(length, rows, hidden) for part in parts}  # after step t + 1
    last = _gradient_of_the_loss(parameters, rounded(states["h"][-1]), batch.labels)  # [B, H]
    rests = [own[t + 1 :] for t in range(length - 1) for own in x]
    given = {f"{part}_0": np.ascontiguousarray(states[part][:-1].reshape(1, -1, hidden)) for part in parts}
    given["d_h_n"] = np.tile(last, (length - 1, 1))[None].astype(dtype)
    gradients = probe(rests, given).gradients()
    norms = {
        part: np.linalg.norm(gradients[f"{part}_0"].astype(np.float64), axis=-1).reshape(length - 1, rows).T
        for part in parts
    }
    norms["h"] = np.concatenate([norms["h"], np.linalg.norm(last, axis=-1)[:, None]], axis=1)
    return norms


def _encoder_rows(model: Model) -> list[Parameter]:
    return [row for row in parameter_table(model) if row.name.startswith("encoder.")]


def _gradient_of_the_loss(parameters: Arrays, state: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of every sequence's cross-entropy by its last state [B, H]: (softmax - one_hot) W, in float64."""
    weight, bias = (parameters[f"head.{kind}"].astype(np.float64) for kind in ("weight", "bias"))
    logits = state.astype(np.float64) @ weight.T + bias
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        weight = np.concatenate([np.zeros_like(weight), weight])
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    shares[np.arange(len(labels)), labels] -= 1.0
    return shares @ weight
