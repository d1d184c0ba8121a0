"""Inputs and tables of an exported model, in ONNX and in both frameworks.

N-grams are numbered from 1 in it: the n-gram n of a run (`core/data/ngrams`) has the number n + 1. 0 is an unknown
n-gram, and padding.
"""

from __future__ import annotations

from core.models.model import Model

SUMS, BIAS, VALUES = "ngrams.sums", "ngrams.bias", "ngrams.values"
"""Tables of n-grams (`core.export.ngram_tables.tables_of`)."""


def input_names(model: Model) -> tuple[str, ...]:
    """Return the names of the inputs of an exported model, in order; all are int64.

    `ids` [B, L] and `lengths` [B]; with n-grams `ngrams` [B, M], the distinct n-grams of each text, and `ngram_ends`
    [B, L, orders], those that end at each token.
    """
    names = () if model.is_linear else ("ids", "lengths")
    if model.ngrams is not None:
        names += ("ngrams",) * model.ngrams.logits + ("ngram_ends",) * model.ngrams.inputs
    return names
