"""Word dropout: in training, replace real tokens by UNK at random (Iyyer et al. 2015; Dai and Le 2015).

It regularizes like dropout, and trains the vector of UNK, which most training texts lack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from core.batch import UNK, Batch, real_mask
from core.rng import dropout_mask


def drop_words(batch: Batch, rate: float, step: int, seeds: Sequence[int]) -> Batch:
    """Return the batch as a training step reads it: every real token is UNK with probability `rate`.

    The choice depends on (seed, step) and the real tokens in their order alone, not on the padded width. `batch` is a
    full one, of which processes then take their shards. With several `seeds`, one per model of an ensemble, it holds
    equal numbers of texts per model.
    """
    if rate == 0.0:
        return batch
    ids, real = batch.ids.copy(), real_mask(batch)
    for seed, own, mask in zip(seeds, np.split(ids, len(seeds)), np.split(real, len(seeds)), strict=True):
        keep = dropout_mask(seed, step, "words", (int(mask.sum()),), rate)
        own[mask] = np.where(keep, own[mask], UNK)  # `own` is a view of `ids`
    return replace(batch, ids=ids)
