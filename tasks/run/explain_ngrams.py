"""Explain a prediction of a classifier: by occlusion, and by n-grams for a model that reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from core.analysis.marked_text import MarkedText
from core.analysis.ngram_effects import NgramEffects, effects_of, without_each
from core.analysis.occlusion import Explanation, explain, explain_label, log_odds
from core.batch import Batch, pad
from core.data.encode import EncodedText
from core.data.ngrams.features import NgramFeatures
from core.data.ngrams.linear import NgramModel
from core.data.ngrams.texts import Texts
from core.models.heads import MultilabelHead
from core.models.heads.scores import probabilities_of
from core.models.model import Model
from core.models.ngrams import SCALE, spread
from core.spec.text import Text as TextSpec
from core.strings import shorten
from tasks.run.explain import Explained

NGRAMS = 8
"""Number of n-grams listed with their effects."""
NGRAM = 40
"""Maximum characters of an n-gram."""


@dataclass(frozen=True)
class Explainer:
    """Explains the predictions of a run: its engine, spec, n-grams (None without) and names of classes."""

    engine: Any
    model: Model
    ngrams: NgramModel | None
    classes: list[str]
    label: int | None = None
    """Label to explain, of a model with several for a text; None for the most probable one."""

    def of_text(self, string: str, encoded: EncodedText, text: TextSpec, number: int = 1) -> Explained:
        """Return the explanation of the prediction for a text and its encoded form."""
        return self.explained(MarkedText.of(string, encoded, text), encoded, number)

    def explained(self, marked: MarkedText, encoded: EncodedText, number: int) -> Explained:
        """Return the explanation of a text's prediction, for the text and its encoded form.

        By occlusion for a network; exactly, as a sum over n-grams, for a linear model of n-grams.
        """
        ngrams = self.ngrams
        if isinstance(self.model.head, MultilabelHead):
            explanation = explain_label(self.engine.logits, encoded.ids, self.label)
            share = explanation.probabilities[explanation.predicted]
            return Explained(marked, explanation, f"{self.classes[explanation.predicted]} ({share:.4f})", number)
        if ngrams is None:
            explanation = explain(self.engine.logits, encoded.ids)
            return Explained(marked, explanation, self.classes[explanation.predicted], number)
        if self.model.is_linear:
            return self._linear(marked, ngrams, number)
        assert encoded.kept is not None, "encode_text sets it"
        features = without_each(ngrams, encoded.whole, encoded.kept)
        explanation = explain(self.engine.logits, encoded.ids, features)
        name, notes = self.classes[explanation.predicted], []
        if self.model.ngrams is not None and self.model.ngrams.logits:
            notes.append(self._parts(_batch(encoded, features), explanation.predicted))
        effects = effects_of(ngrams, encoded.whole, explanation.predicted)
        notes.append(_listed(f"n-grams of {name} in the linear model alone", effects))
        return Explained(marked, explanation, name, number, tuple(notes))

    def _linear(self, marked: MarkedText, ngrams: NgramModel, number: int) -> Explained:
        """Return the exact explanation, over the whole text."""
        texts = Texts.of([marked.tokens])
        shares = probabilities_of(spread(ngrams.logits(ngrams.rows(texts)).astype(np.float64), self.model.outputs))[0]
        predicted = int(shares.argmax())
        effects = effects_of(ngrams, marked.tokens, predicted)
        quantity, name = "log-odds" if ngrams.weights.shape[1] == 1 else "logit", self.classes[predicted]
        notes = (
            _listed(f"n-grams of {name}", effects),
            f"bias {effects.bias:+.2f}; all parts add up to the {quantity}",
        )
        explanation = Explanation(shares, predicted, effects.tokens)
        return Explained(marked.whole(), explanation, name, number, notes, quantity, True)

    def _parts(self, batch: Batch, predicted: int) -> str:
        """Return the log-odds of a class with all logits, and with those of network and n-grams alone."""
        both = np.asarray(self.engine.logits(batch), dtype=np.float64)
        assert batch.ngrams is not None, "the model reads n-grams"
        scale = float(np.asarray(self.engine.parameters()[SCALE]).reshape(-1)[0])
        own = scale * spread(batch.ngrams.logits.astype(np.float64), self.model.outputs)
        whole, network, alone = (float(log_odds(logits, predicted)[0]) for logits in (both, both - own, own))
        return f"log-odds of {self.classes[predicted]} {whole:+.2f}: network {network:+.2f}, n-grams {alone:+.2f}"


def _batch(encoded: EncodedText, features: NgramFeatures) -> Batch:
    """Return the text alone as a batch, with its n-grams."""
    count = len(encoded.ids)
    offsets = np.array([0, count], dtype=np.int64)
    return pad([encoded.ids], {}, lambda width: features.batch(np.zeros(1, np.int64), offsets, width))


def _listed(what: str, effects: NgramEffects) -> str:
    """Return the strongest n-grams of a text in one line."""
    named = ", ".join(f"{shorten(ngram, NGRAM)} {part:+.2f}" for ngram, part in effects.ngrams[:NGRAMS])
    return f"{what}: {named or 'none is known'}"
