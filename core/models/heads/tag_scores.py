"""Metrics of a tagger from the outcomes of its tokens, in NumPy float64, shared by all backends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from core.batch import Ragged, Targets
from core.models.heads.scores import ClassEvaluation, ClassScores, scores_by_class
from core.models.heads.spans import SpanScores, find_spans, scheme_of, score_spans


@dataclass(frozen=True)
class TokenEvaluation(ClassEvaluation):
    """Metrics of a tagger; `predicted` and `probabilities` have one row per token."""

    names: tuple[str, ...]
    """Names [C] of the tags."""
    spans: SpanScores | None
    """Scores of words or entities, None if the tags mark none."""
    gaps: np.ndarray
    """Differences [N] of the scores of the best and the second tag (`core.models.heads.crf.Decoded.margins`)."""
    text_losses: np.ndarray
    """Sums of the losses of each text, [texts]."""

    @property
    def score(self) -> float:
        """F1 of spans, or the accuracy of tags that mark none."""
        return self.accuracy if self.spans is None else self.spans.f1

    @property
    def margins(self) -> np.ndarray:
        """Difference of the probabilities of the two best tags, [N]; with a CRF, of tags in the best sequences."""
        return self.probabilities[np.arange(len(self.predicted)), self.predicted] * -np.expm1(-self.gaps)

    def per_tag(self) -> dict[str, ClassScores]:
        """Return precision, recall, F1 and the number of true tokens of each tag that occurs."""
        occurs = (self.confusion.sum(axis=0) + self.confusion.sum(axis=1) > 0).tolist()
        scores = zip(self.names, scores_by_class(self.confusion), occurs, strict=True)
        return {name: own for name, own, occurring in scores if occurring}

    def figures(self) -> dict[str, Any]:
        found = {**super().figures(), "tokens": len(self.predicted), "per_tag": self.per_tag()}
        if self.spans is not None:
            own = self.spans
            found |= {"precision": own.precision, "recall": own.recall, "f1": own.f1, "spans": int(own.true.sum())}
            if len(own.names) > 1:
                found["per_type"] = own.by_type()
        return found

    def quantities(self) -> dict[str, float]:
        return {"macro_f1": self.macro_f1} if self.spans is None else {"f1": self.spans.f1}

    def strings(self, targets: Targets, classes: tuple[str, ...]) -> tuple[list[str], list[str]]:
        """Return the tags of every text, separated by spaces."""
        tags = sequences_of(targets, "tags")
        predicted = Ragged(self.predicted, tags.offsets)
        labels, answers = (
            [" ".join(classes[tag] for tag in own[n]) for n in range(len(own))] for own in (tags, predicted)
        )
        return labels, answers

    def describe(self) -> str:
        if self.spans is None:
            return super().describe()
        own = self.spans
        return f"F1 {own.f1:.4f} (precision {own.precision:.4f}, recall {own.recall:.4f})  {super().describe()}"


def score_tags(outcomes: np.ndarray, tags: Ragged, names: tuple[str, ...]) -> TokenEvaluation:
    """Return the metrics of the outcomes of all tokens, [tokens, 3 + C]: tag, margin, loss, log-probabilities.

    `names` [C] are those of the tags; () if they are unknown, as are spans then.
    """
    predicted, true = outcomes[:, 0].astype(np.int64), tags.values
    classes = outcomes.shape[1] - 3
    confusion = np.bincount(true * classes + predicted, minlength=classes**2).reshape(classes, classes)
    hits, occurrences = np.diag(confusion), confusion.sum(axis=1) + confusion.sum(axis=0)
    occur = occurrences > 0
    scheme, spans = scheme_of(names) if names else None, None
    if scheme is not None:
        sides = [find_spans(own, tags.offsets, scheme) for own in (true, predicted)]
        spans = score_spans(sides[0], sides[1], scheme)
    return TokenEvaluation(
        loss=float(outcomes[:, 2].mean()),
        accuracy=float(hits.sum() / len(true)),
        probabilities=np.exp(outcomes[:, 3:]),
        predicted=predicted,
        macro_f1=float((2 * hits[occur] / occurrences[occur]).mean()),
        confusion=confusion,
        names=names or tuple(map(str, range(classes))),
        spans=spans,
        gaps=outcomes[:, 1],
        text_losses=np.add.reduceat(outcomes[:, 2], tags.offsets[:-1]),
    )


def sequences_of(targets: Targets, name: str) -> Ragged:
    """Return a target with a sequence per text. Raises TypeError for one entry per text."""
    found = targets[name]
    if not isinstance(found, Ragged):
        raise TypeError(f"{name}: got one entry per text, expected a sequence")
    return found
