"""Explanation of one predicted tag by occlusion: the loss of confidence when a token is hidden.

As in `core/analysis/occlusion.py`, but a hidden token is replaced by UNK instead of removed, so that the others keep
their places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.analysis.occlusion import log_odds
from core.batch import UNK
from core.models.heads.tokens import TokenHead
from core.train.tagging import Tagger, Tags, tag


@dataclass(frozen=True)
class TagExplanation:
    """The explanation of the tag of the token at `place`.

    `predicted`: index of the tag; `probabilities` [C]; `effects` [L]: decrease of its log-odds log p / (1 - p) when a
    token is hidden. A token with a negative effect is evidence against the tag.
    """

    place: int
    predicted: int
    probabilities: np.ndarray
    effects: np.ndarray

    def strongest(self, count: int) -> list[int]:
        """Return the positions of the tokens with the largest absolute effects, in decreasing order."""
        return np.argsort(-np.abs(self.effects), kind="stable")[:count].tolist()


def least_certain(found: Tags) -> int:
    """Return the position of the token whose predicted tag has the lowest probability."""
    return int(found.probabilities[np.arange(len(found.tags)), found.tags].argmin())


def explain_tag(engine: Tagger, head: TokenHead, ids: np.ndarray, place: int) -> TagExplanation:
    """Explain the tag that a model predicts for the token at `place` of ids [L]."""
    hidden = np.repeat(ids[None], len(ids), axis=0)
    np.fill_diagonal(hidden, UNK)
    whole, *others = tag(engine, head, [ids, *hidden])
    predicted = int(whole.tags[place])
    odds = log_odds(np.stack([own.scores[place] for own in (whole, *others)]), predicted)
    return TagExplanation(place, predicted, whole.probabilities[place], odds[0] - odds[1:])
