"""Gradient flow through time: norms of dL/dh_t and dL/dc_t for a loss at the sequence end.

The experiment follows nndl, chapter 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from core.batch import Batch
from core.engine.executor import Executor
from core.models.encoders.recurrent import RecurrentEncoder
from core.models.heads import AnyHead
from core.models.heads.pooled import PooledHead
from core.models.model import Model, parameter_table, product_weights
from core.models.parameters import Parameter
from core.models.precision import rounding_of
from core.models.types import Arrays
from core.schema import of_kind
from core.spec.experiment import Experiment


def one_layer_to_the_last_state(model: Model) -> bool:
    """Return whether the loss depends on the last state of a single layer alone."""
    encoder, head = model.encoder, model.head
    if not isinstance(encoder, RecurrentEncoder):
        return False
    if model.embedding.lookup == "scalar" or model.ngrams is not None:
        return False
    return encoder.num_layers == 1 and not encoder.bidirectional and _last_state(head)


def _last_state(head: AnyHead) -> bool:
    return isinstance(head, PooledHead) and head.pooling == "last" and head.hidden_size is None


@dataclass(frozen=True)
class Powers:
    """Spectral norms of U, U^2, ..., U^k, and the spectral radius, of a U per seed.

    The radius to the power k is a lower bound of the norm of U^k, and the norm grows or shrinks like it for large k. An
    SRN's dh_{t+k}/dh_t is the product of k factors diag(tanh') U. It equals U^k where all states are zero; elsewhere
    tanh' is less than 1.
    """

    norms: np.ndarray
    """[seeds, k]"""
    radius: np.ndarray
    """[seeds]"""

    def tree(self) -> dict:
        return {"norms": self.norms.tolist(), "radius": self.radius.tolist()}


def powers(weights: np.ndarray, steps: int) -> Powers:
    """Return the spectral norms of the first `steps` powers of `weights` [seeds, H, H], in float64."""
    weights = weights.astype(np.float64)
    radius = np.abs(np.linalg.eigvals(weights)).max(axis=-1)
    norms, power = [], np.broadcast_to(np.eye(weights.shape[-1]), weights.shape)
    for _ in range(steps):
        power = power @ weights
        norms.append(np.linalg.norm(power, 2, axis=(-2, -1)))
    return Powers(np.stack(norms, axis=1), radius)


def state_gradients(
    side: ModuleType, executor: Executor, experiment: Experiment, parameters: Arrays, batch: Batch
) -> dict[str, np.ndarray]:
    """Return the gradient norms of every sequence's cross-entropy, computed by backend `side`.

    `h`: |dL/dh_t|, [B, L] for t = 1, ..., L; for an LSTM also `c`: |dL/dc_t|, [B, L - 1] for t = 1, ..., L - 1; each
    with the other state constant. dL/dh_t equals the gradient of h_0 of a layer that starts with h_0 = h_t (and c_0 =
    c_t) and reads the remaining sequence. Two calls of a `LayerProbe` therefore compute all norms: one over all
    prefixes, one over all suffixes. Raises ValueError unless all sequences have one length L >= 2 and
    `one_layer_to_the_last_state` holds.
    """
    model, rounded = experiment.model, rounding_of(experiment.training.dtype)
    rows, length = batch.ids.shape
    if (batch.lengths != length).any() or length < 2 or not one_layer_to_the_last_state(model):
        raise ValueError("expected sequences of one length >= 2, and one layer whose last state the head reads")
    encoder = of_kind(model.encoder, RecurrentEncoder)
    parameters = {**parameters, **{name: rounded(parameters[name]) for name in product_weights(model)}}
    x = rounded(parameters["embedding.weight"][batch.ids])  # [B, L, E]
    weights = {row.name: parameters[row.name] for row in _encoder_rows(model)}
    hidden, dtype = encoder.hidden_size, x.dtype
    zeros = np.zeros((1, rows * length, hidden), dtype)
    parts = ("h", "c") if encoder.cell == "lstm" else ("h",)

    def probe(sequences: list[np.ndarray], states: Arrays):
        """Create a probe of sequences of unequal length."""
        lengths = np.array([len(sequence) for sequence in sequences])
        padded = np.zeros((len(sequences), lengths.max(), x.shape[2]), dtype)
        for row, sequence in enumerate(sequences):
            padded[row, : len(sequence)] = sequence
        return side.LayerProbe(encoder, {"x": padded, **weights, **states}, lengths, executor)

    prefixes = [own[: t + 1] for t in range(length) for own in x]
    found = probe(prefixes, {f"{part}_0": zeros for part in parts}).forward()
    states = {part: found[f"{part}_n"][0].reshape(length, rows, hidden) for part in parts}  # after step t + 1
    last = _gradient_of_the_loss(parameters, rounded(states["h"][-1]), batch.labels)  # [B, H]
    suffixes = [own[t + 1 :] for t in range(length - 1) for own in x]
    given = {f"{part}_0": np.ascontiguousarray(states[part][:-1].reshape(1, -1, hidden)) for part in parts}
    given["d_h_n"] = np.tile(last, (length - 1, 1))[None].astype(dtype)
    gradients = probe(suffixes, given).gradients()
    norms = {
        part: np.linalg.norm(gradients[f"{part}_0"].astype(np.float64), axis=-1).reshape(length - 1, rows).T
        for part in parts
    }
    norms["h"] = np.concatenate([norms["h"], np.linalg.norm(last, axis=-1)[:, None]], axis=1)
    return norms


def _encoder_rows(model: Model) -> list[Parameter]:
    return [row for row in parameter_table(model) if row.name.startswith("encoder.")]


def _gradient_of_the_loss(parameters: Arrays, state: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the cross-entropy gradients of the last state, [B, H] float64: (p - one_hot) W."""
    weight, bias = (parameters[f"head.{kind}"].astype(np.float64) for kind in ("weight", "bias"))
    logits = state.astype(np.float64) @ weight.T + bias
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        weight = np.concatenate([np.zeros_like(weight), weight])
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    shares[np.arange(len(labels)), labels] -= 1.0
    return shares @ weight
