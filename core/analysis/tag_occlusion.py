"""Explanation of one predicted tag by occlusion: the loss of confidence when a token is hidden.

As in `core/analysis/occlusion.py`, but a hidden token is replaced by UNK instead of removed, so that the others keep
their places.
"""

from __future__ import annotations

import numpy as np

from core.analysis.occlusion import Explanation, log_odds
from core.batch import UNK
from core.models.heads.tokens import TokenHead
from core.train.tagging import Tagger, Tags, tag


def least_certain(found: Tags) -> int:
    """Return the position of the token whose predicted tag has the lowest probability."""
    return int(found.probabilities[np.arange(len(found.tags)), found.tags].argmin())


def explain_tag(engine: Tagger, head: TokenHead, ids: np.ndarray, place: int) -> Explanation:
    """Explain the tag that a model predicts for the token at `place` of ids [L]."""
    hidden = np.repeat(ids[None], len(ids), axis=0)
    np.fill_diagonal(hidden, UNK)
    whole, *others = tag(engine, head, [ids, *hidden])
    predicted = int(whole.tags[place])
    odds = log_odds(np.stack([own.scores[place] for own in (whole, *others)]), predicted)
    return Explanation(whole.probabilities[place], predicted, odds[0] - odds[1:])
