"""Adversarial perturbation of word vectors (Miyato, Dai and Goodfellow 2017).

A text's word vectors move in the direction in which its loss rises fastest, by a length that grows with the square root
of its tokens: e per token, in the root mean square. Training on these vectors too makes the model smooth around the
texts. Both frameworks compute it in `adversarial.py`; this is the reference.
"""

from __future__ import annotations

import numpy as np


def perturbation_of(gradient: np.ndarray, lengths: np.ndarray, size: float) -> np.ndarray:
    """Return r = size * sqrt(n) * g / |g| per text, [B, L, E]; 0 for a text whose gradient is 0.

    `gradient` g [B, L, E] is that of every text's loss by its word vectors, 0 at padding, in any scale; `lengths` [B]
    are the numbers n of real tokens.
    """
    norms = np.sqrt(np.square(gradient).sum(axis=(1, 2)))
    factors = size * np.sqrt(lengths) / np.where(norms > 0.0, norms, 1.0)
    return gradient * factors[:, None, None]
