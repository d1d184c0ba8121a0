"""Adversarial perturbation of word vectors (Miyato, Dai and Goodfellow 2017).

A text's word vectors move in the direction in which its loss rises fastest, by a length that grows with the square root
of its tokens: e per token, in the root mean square. Training on these vectors too makes the model smooth around the
texts. Both frameworks compute it in their `adversarial.py`; this is the reference.
"""

from __future__ import annotations

import numpy as np

from core.batch import Batch, real_mask


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
