"""Adversarial perturbation of word vectors (Miyato, Dai and Goodfellow 2017).

A text's word vectors move in the direction in which its loss rises fastest, by a length that grows with the square root
of its tokens: e per token, in the root mean square. Training on these vectors too makes the model smooth around the
texts. Both frameworks compute it in their `adversarial.py`; this is the reference.

The virtual one needs no label: the direction is that in which the predicted distribution changes fastest.
"""

from __future__ import annotations

import numpy as np

from core.batch import Batch, real_mask
from core.rng import generator


def perturbation_of(gradient: np.ndarray, batch: Batch, size: float) -> np.ndarray:
    """Return r = size * sqrt(n) * g / |g| per text of n real tokens, [B, L, E].

    `gradient` [B, L, E] is that of every text's loss by its word vectors, in any scale. It does not count at padding,
    where r is 0; so it is for a text whose gradient g is 0.
    """
    gradient = gradient * real_mask(batch)[:, :, None]
    # The sum is cumulative, as the order in which `sum` adds depends on the padded width.
    norms = np.sqrt(np.cumsum(np.square(gradient).sum(axis=2), axis=1)[:, -1])
    factors = size * np.sqrt(batch.lengths) / np.where(norms > 0.0, norms, 1.0)
    return gradient * factors[:, None, None]


def random_directions(seed: int, step: int, batch: Batch, size: int) -> np.ndarray:
    """Return normal numbers per component of every real token [B, L, size], 0 at padding.

    They depend on (seed, step) and the real tokens in their order alone, not on the padded width. `batch` is a full
    one, of which processes then take their rows.
    """
    real = real_mask(batch)
    found = np.zeros((*real.shape, size))
    found[real] = generator(seed, "virtual", step).standard_normal((int(real.sum()), size))
    return found


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Return [B, C] from logits [B, C], or from a single logit [B, 1], that of class 1 of two."""
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    shifted = logits - np.real(logits).max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def divergences(target: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Return KL(p || q) [B] of p with log-probabilities `target` [B, C], a constant, and q with `logits`."""
    return (np.exp(target) * (target - log_probabilities(logits))).sum(axis=1)
