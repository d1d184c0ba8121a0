"""The target side of a batch of pairs: special ids, lengths, and the input of a decoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.batch import PAD, Batch
from core.strings import SPACE

BOS, EOS = 2, 3
"""Ids that begin a decoder's input and end its output; PAD is 0 and UNK is 1, as for sources."""
TARGET = "target"
"""Name of the targets: ids [B, M], each row ended by EOS and padded with PAD."""


def join_tokens(ids: np.ndarray, tokens: Sequence[str]) -> str:
    """Return the string of a target from its `ids` and the `tokens` of its vocabulary, special ones first.

    Tokens of one character each are joined, with a space for `SPACE`; others are separated by spaces.
    """
    if all(len(token) == 1 for token in tokens[EOS + 1 :]):
        return "".join(tokens[int(number)] for number in ids).replace(SPACE, " ")
    return " ".join(tokens[int(number)] for number in ids)


def target_lengths(batch: Batch) -> np.ndarray:
    """Return the number of target tokens of each row with EOS, [B] int64."""
    return (batch.targets[TARGET] != PAD).sum(axis=1)


def decoder_batch(batch: Batch) -> Batch:
    """Return the input of a decoder in training: BOS and the target without its last token, [B, M].

    The rows have the lengths of the targets, so position t is to predict target t.
    """
    target, lengths = batch.targets[TARGET], target_lengths(batch)
    ids = np.full_like(target, PAD)
    ids[:, 0] = BOS
    ids[:, 1:] = target[:, :-1]
    real = np.arange(target.shape[1]) < lengths[:, None]
    return Batch(np.where(real, ids, PAD), lengths, {})


def step_batch(ids: np.ndarray) -> Batch:
    """Return one step of decoding as a batch: the last tokens `ids` [R] as sequences of length 1."""
    return Batch(ids[:, None].astype(np.int64), np.ones(len(ids), np.int64), {})
