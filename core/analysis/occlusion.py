"""Explanation of predictions by occlusion: the loss of confidence when a token is removed.

Zeiler and Fergus 2014; for words Li, Monroe and Jurafsky 2016. The method only uses predictions, so the result is the
same in all backends, to rounding error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from core.batch import UNK, Batch
from core.data.dataset import Dataset
from core.data.ngrams.features import NgramFeatures
from core.models.heads.multilabel_scores import label_probabilities
from core.models.heads.scores import probabilities_of
from core.train.metrics import all_logits


@dataclass(frozen=True)
class Explanation:
    """The explanation of one prediction.

    `probabilities` [C]; `predicted`: index of the class; `effects` [L]: decrease of the log-odds log p / (1 - p) of the
    predicted class when a token is removed. A token with a negative effect is evidence against it.
    """

    probabilities: np.ndarray
    predicted: int
    effects: np.ndarray

    def strongest(self, count: int) -> list[int]:
        """Return the positions of the tokens with the largest absolute effects, in decreasing order."""
        return np.argsort(-np.abs(self.effects), kind="stable")[:count].tolist()


def explain(
    logits_of: Callable[[Batch], np.ndarray], ids: np.ndarray, ngrams: NgramFeatures | None = None
) -> Explanation:
    """Explain the prediction for ids [L] by an engine's `logits`.

    The only token of a text is replaced by UNK instead of removed. `ngrams`: those of a model that reads them, from
    `core.analysis.ngram_effects.without_each`.
    """
    logits = _logits_without_each(logits_of, ids, ngrams)
    predicted = int(probabilities_of(logits[:1])[0].argmax())
    odds = log_odds(logits, predicted)
    return Explanation(probabilities_of(logits[:1])[0], predicted, odds[0] - odds[1:])


def explain_label(logits_of: Callable[[Batch], np.ndarray], ids: np.ndarray, label: int | None = None) -> Explanation:
    """Explain the probability of a label for ids [L] by the `logits` of an engine with several labels per text.

    `label` is by default the most probable one. Its log-odds are its logit.
    """
    logits = _logits_without_each(logits_of, ids).astype(np.float64)
    label = int(logits[0].argmax()) if label is None else label
    return Explanation(label_probabilities(logits[:1])[0], label, logits[0, label] - logits[1:, label])


def _logits_without_each(
    logits_of: Callable[[Batch], np.ndarray], ids: np.ndarray, ngrams: NgramFeatures | None = None
) -> np.ndarray:
    """Return the logits [1 + L, outputs] of ids [L], and of these without each token."""
    ids = np.asarray(ids, dtype=np.int64)
    shorter = [np.delete(ids, place) for place in range(len(ids))] if len(ids) > 1 else [np.array([UNK])]
    sequences = [ids, *shorter]
    offsets = np.concatenate(([0], np.cumsum([len(sequence) for sequence in sequences])))
    names = [""] * len(sequences)
    dataset = Dataset(np.concatenate(sequences), offsets, {}, names, ngrams=ngrams)
    return all_logits(logits_of, dataset)


def log_odds(logits: np.ndarray, predicted: int) -> np.ndarray:
    """Return the log-odds log p / (1 - p) of one class, [N] float64.

    Logits are [N, C], or [N, 1] for class 1 of two. The logits are used directly, as 1 - p would be rounded to
    zero for confident predictions.
    """
    logits = logits.astype(np.float64)
    if logits.shape[1] == 1:
        return logits[:, 0] if predicted == 1 else -logits[:, 0]
    others = np.delete(logits, predicted, axis=1)
    most = others.max(axis=1)
    return logits[:, predicted] - most - np.log(np.exp(others - most[:, None]).sum(axis=1))
