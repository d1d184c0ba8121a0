"""Why a model answers as it does: what its certainty loses when a word is taken out (occlusion, Zeiler and Fergus 2014;
for words, Li, Monroe and Jurafsky 2016).

The model is only asked, never looked into: so the answer is the same through any framework, to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from core.batch import UNK, Batch
from core.data.dataset import Dataset
from core.models.heads.scores import probabilities_of
from core.train.metrics import all_logits


@dataclass(frozen=True)
class Explanation:
    """Of one text: `probabilities` [C]; the class that is `predicted`; and `effects` [L], by how much the log-odds of
    that class, log p / (1 - p), sink when the token is taken out. Below zero: the token speaks against it."""

    probabilities: np.ndarray
    predicted: int
    effects: np.ndarray

    def strongest(self, count: int) -> list[int]:
        """Places of the tokens with the largest effects, either way, the largest first."""
        return np.argsort(-np.abs(self.effects), kind="stable")[:count].tolist()


def explain(logits_of: Callable[[Batch], np.ndarray], ids: np.ndarray) -> Explanation:
    """ids [L] of one text through an engine's `logits`. The only token of a text is replaced by UNK, not taken out."""
    ids = np.asarray(ids, dtype=np.int64)
    shorter = [np.delete(ids, place) for place in range(len(ids))] if len(ids) > 1 else [np.array([UNK])]
    sequences = [ids, *shorter]
    offsets = np.concatenate(([0], np.cumsum([len(sequence) for sequence in sequences])))
    names = [""] * len(sequences)
    dataset = Dataset(np.concatenate(sequences), offsets, {}, names)
    logits = all_logits(logits_of, dataset)
    predicted = int(probabilities_of(logits[:1])[0].argmax())
    odds = log_odds(logits, predicted)
    return Explanation(probabilities_of(logits[:1])[0], predicted, odds[0] - odds[1:])


def log_odds(logits: np.ndarray, predicted: int) -> np.ndarray:
    """[N, C] logits, or [N, 1] of the second of two classes -> log p / (1 - p) of one class, [N] float64.

    From the logits: of a model that is very sure, 1 - p would be rounded to nothing.
    """
    logits = logits.astype(np.float64)
    if logits.shape[1] == 1:
        return logits[:, 0] if predicted == 1 else -logits[:, 0]
    others = np.delete(logits, predicted, axis=1)
    most = others.max(axis=1)
    return logits[:, predicted] - most - np.log(np.exp(others - most[:, None]).sum(axis=1))
