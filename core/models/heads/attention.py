"""Attention of a decoder over the outputs of its encoder: parameters and NumPy reference.

Notation: h [B, M, H] are the outputs of the decoder, e [B, S, F] those of the encoder. Scores, without biases (Bahdanau
et al. 2015, Luong et al. 2015):

- `additive`: v . tanh(W_q h + W_k e), with W_q [H, H], W_k [H, F], v [H]
- `dot`: h . (W_k e) / sqrt(H)

The weights are the softmax of the scores over the real source tokens, and exactly 0 at padding. The context is the sum
of e by these weights.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from core.models.heads.decoder_state import DecoderState
from core.models.parameters import Init, Parameter
from core.models.precision import Rounding
from core.models.types import Arrays

Score = Literal["none", "additive", "dot"]

QUERY, KEY, VALUE = "attention.query.weight", "attention.key.weight", "attention.value.weight"


def attention_parameters(kind: Score, states: int, features: int, init: Init) -> list[Parameter]:
    """Return the rows of a kind: `attention.query.weight` [H, H], `attention.key.weight` [H, F] and
    `attention.value.weight` [1, H], of which `dot` has only the key.
    """
    key = Parameter(KEY, (states, features), init, fan=features)
    if kind == "none":
        return []
    if kind == "dot":
        return [key]
    return [
        Parameter(QUERY, (states, states), init, fan=states),
        key,
        Parameter(VALUE, (1, states), init, fan=states),
    ]


def attend(
    kind: Score, arrays: Arrays, h: np.ndarray, state: DecoderState, rounded: Rounding
) -> tuple[np.ndarray, np.ndarray]:
    """Return the attention weights [B, M, S] and the contexts [B, M, F] of h [B, M, H].

    Supports complex steps. The sums over S are sequential, so that padding does not change their rounding.
    """
    keys, values, real = state.keys, state.values, state.real
    if kind == "dot":
        scores = np.einsum("bmh,bsh->bms", h, keys) / np.sqrt(h.shape[-1])
    else:
        queries = product(rounded(h), rounded(arrays[QUERY]))
        hidden = np.tanh(queries[:, :, None] + keys[:, None])  # [B, M, S, H]
        scores = np.einsum("bmsh,h->bms", rounded(hidden), rounded(arrays[VALUE])[0])
    weights = masked_softmax(scores, real[:, None])
    if h.shape[1] == 1:  # a step of decoding
        return weights, (weights[:, 0, :, None] * values).sum(axis=1)[:, None]
    context = np.zeros((*h.shape[:2], values.shape[-1]), dtype=weights.dtype)
    for s in range(values.shape[1]):
        context = context + weights[:, :, s, None] * values[:, None, s]
    return weights, context


def product(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return x W^T for x [B, M, in] and `weight` [out, in]: for a single step in one product, else row by row."""
    return (x[:, 0] @ weight.T)[:, None] if x.shape[1] == 1 else x @ weight.T


def masked_softmax(scores: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Return the softmax over the last axis of the entries that are `real`, 0 for the others."""
    largest = np.where(real, np.real(scores), -np.inf).max(axis=-1, keepdims=True)
    powers = np.where(real, np.exp(np.where(real, scores - largest, 0.0)), 0.0)
    total = np.zeros(powers.shape[:-1], dtype=powers.dtype)
    for s in range(powers.shape[-1]):
        total = total + powers[..., s]
    return powers / total[..., None]
