"""Sentences of the test split that a tagger finds hardest, and where their tags are wrong: `mistakes.csv`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.batch import Ragged
from core.data.dataset import Dataset
from core.data.tagged_text import begins_of_words, rendered
from core.models.heads.tag_scores import TokenEvaluation, sequences_of

KEPT = 100
"""Maximum number of sentences stored in a run."""


@dataclass(frozen=True)
class WrongSentence:
    """A sentence with a wrong tag: names of its true and predicted tags [L], and the mean probability of the true ones.

    The mean is geometric: the exponential of the negative mean loss.
    """

    name: str
    tags: list[str]
    predicted: list[str]
    probability: float

    def cells(self, tokens: Sequence[str], as_words: bool) -> tuple[str, ...]:
        """Return the cells of the row in `mistakes.csv`; `tokens` are [] if they are unknown."""
        if not tokens:
            return self.name, " ".join(self.tags), " ".join(self.predicted), f"{self.probability:.6f}", ""
        true, predicted = (rendered(tokens, own, as_words) for own in (self.tags, self.predicted))
        text = ("" if as_words else " ").join(tokens)
        return self.name, true, predicted, f"{self.probability:.6f}", text

    def differences(self, tokens: Sequence[str], as_words: bool) -> list[tuple[str, str]]:
        """Return the true and the predicted form of every stretch that is wrong."""
        if not as_words:
            pairs = zip(tokens, self.tags, self.predicted, strict=True)
            return [(f"{token}/{true}", f"{token}/{own}") for token, true, own in pairs if true != own]
        true, predicted = (begins_of_words(own) for own in (self.tags, self.predicted))
        common = [place for place in range(len(tokens)) if true[place] and predicted[place]]
        found = []
        for start, end in zip(common, [*common[1:], len(tokens)], strict=True):
            if true[start:end] != predicted[start:end]:
                own = slice(start, end)
                found.append(
                    (rendered(tokens[own], self.tags[own], True), rendered(tokens[own], self.predicted[own], True))
                )
        return found


def hardest(test: Dataset, found: TokenEvaluation, as_words: bool, limit: int = KEPT) -> list[WrongSentence]:
    """Return at most `limit` sentences with a wrong tag, or with `as_words` a wrong word, by decreasing loss."""
    tags = sequences_of(test.targets, "tags")
    predicted = Ragged(found.predicted, tags.offsets)
    wrong = np.flatnonzero(np.add.reduceat(found.predicted != tags.values, tags.offsets[:-1]) > 0)
    chosen = []
    for row in wrong[np.argsort(-found.text_losses[wrong], kind="stable")]:
        true, own = ([found.names[number] for number in side[row]] for side in (tags, predicted))
        if not as_words or begins_of_words(true) != begins_of_words(own):
            share = float(np.exp(-found.text_losses[row] / len(true)))
            chosen.append(WrongSentence(test.names[row], true, own, share))
        if len(chosen) == limit:
            break
    return chosen
