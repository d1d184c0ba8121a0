"""Tags of new sequences by a trained model, of any engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from core.batch import Batch, pad
from core.models.heads.tokens import TokenHead
from core.models.types import Arrays
from core.train.metrics import EVALUATION_BATCH


class Tagger(Protocol):
    """The methods of an engine that tagging uses."""

    def logits(self, batch: Batch) -> np.ndarray: ...

    def parameters(self) -> Arrays: ...


@dataclass(frozen=True)
class Tags:
    """The predicted tags [L] of a sequence, and the logarithms [L, C] of all probabilities, up to a constant."""

    tags: np.ndarray
    scores: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        """Probabilities [L, C]."""
        shares = np.exp(self.scores - self.scores.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)


def tag(engine: Tagger, head: TokenHead, sequences: list[np.ndarray]) -> list[Tags]:
    """Return the tags of sequences of ids [L], each at least one token long."""
    found: list[Tags | None] = [None] * len(sequences)
    parameters = engine.parameters()
    for rows in _batches(sequences):
        batch = pad([sequences[row] for row in rows], {})
        decoded = head.decode(engine.logits(batch), batch.lengths, parameters)
        for place, (row, length) in enumerate(zip(rows, batch.lengths, strict=True)):
            found[row] = Tags(decoded.tags[place, :length], decoded.scores[place, :length])
    return [own for own in found if own is not None]


def _batches(sequences: list[np.ndarray]) -> Iterator[list[int]]:
    """Yield the numbers of the sequences in batches of similar lengths."""
    order = sorted(range(len(sequences)), key=lambda row: len(sequences[row]))
    for start in range(0, len(order), EVALUATION_BATCH):
        yield order[start : start + EVALUATION_BATCH]
