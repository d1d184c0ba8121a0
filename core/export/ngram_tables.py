"""N-grams of an exported model: their strings, and the tables that the model looks up (`core/models/exported.py`)."""

from __future__ import annotations

import numpy as np

from core.data.ngrams.linear import NgramModel
from core.data.ngrams.table import NgramTable
from core.models.exported import BIAS, SUMS, VALUES
from core.models.ngrams import columns_of
from core.models.types import Arrays


def tables_of(model: NgramModel) -> Arrays:
    """Return the float32 tables that an exported model looks up.

    `ngrams.sums` [F + 1, 2K]: the squares of the ratios, then the weights; `ngrams.bias` [K]; with `Ngrams.inputs`
    `ngrams.values` [F_tokens + 1, K]: what is joined to the word vectors. A text has the logits
    `sum of weights / sqrt(sum of squares) + bias` over its distinct n-grams (`NgramModel.logits`).
    """
    found = {}
    if model.spec.logits:
        sums = np.concatenate([model.ratios.astype(np.float64) ** 2, model.weights], axis=1)
        found = {SUMS: _with_unknown(sums), BIAS: model.bias.astype(np.float32)}
    if model.spec.inputs:
        found[VALUES] = _with_unknown(_values(model))
    return found


def strings_of(table: NgramTable | None) -> list[str]:
    """Return all n-grams of a table in their order, units separated by spaces; [] without a table."""
    if table is None:
        return []
    units = table.units
    found = [*units]
    before = units
    for keys in table.keys:
        first, last = np.divmod(keys, len(units))
        before = [f"{before[a]} {units[b]}" for a, b in zip(first.tolist(), last.tolist(), strict=True)]
        found += before
    return found


def _values(model: NgramModel) -> np.ndarray:
    """Return the values [F_tokens, K] of new texts (`core/data/ngrams/features.py`)."""
    counts, per_class = model.counts.astype(np.float64), model.per_class.astype(np.float64)
    own, all_own = (counts[:, 1:], per_class[1:]) if columns_of(len(per_class)) == 1 else (counts, per_class)
    others = counts.sum(axis=1, keepdims=True) - own
    ratio = np.log((own + 1.0) / (others + 1.0)) - np.log(all_own / (per_class.sum() - all_own))
    return model.spec.input_scale * np.clip(ratio, -model.spec.input_limit, model.spec.input_limit)


def _with_unknown(values: np.ndarray) -> np.ndarray:
    """Return a table with a row of zeros in front."""
    return np.concatenate([np.zeros((1, values.shape[1])), values]).astype(np.float32)
