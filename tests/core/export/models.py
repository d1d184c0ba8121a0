"""Small models of every encoder and pooling with drawn weights, and a batch with texts of 1 to 12 tokens."""

from __future__ import annotations

import numpy as np

from core.batch import Batch, pad
from core.models.encoders import RecurrentEncoder
from core.models.model import Model, parameter_table

VOCABULARY = 40
RECURRENT = {"hidden_size": 5, "num_layers": 2}
TAGS = {"kind": "tokens", "classes": 4}
HASHED = {"bigrams": 50, "bigram_dim": 3}

CASES = {
    "srn, last": {"encoder": {**RECURRENT, "cell": "srn"}, "head": {"pooling": "last"}},
    "srn one-way, mean": {
        "encoder": {**RECURRENT, "cell": "srn", "bidirectional": False},
        "head": {"pooling": "mean", "one_logit": True},
    },
    "gru residual, ends": {
        "encoder": {**RECURRENT, "cell": "gru", "residual": True},
        "head": {"pooling": "ends", "hidden_size": 4},
    },
    "gru one-way, last_max_mean": {
        "encoder": {**RECURRENT, "cell": "gru", "bidirectional": False},
        "head": {"pooling": "last_max_mean"},
    },
    "lstm, max": {"encoder": {**RECURRENT, "cell": "lstm"}, "head": {"pooling": "max", "classes": 3}},
    "lstm, max_mean": {"encoder": {**RECURRENT, "cell": "lstm"}, "head": {"pooling": "max_mean"}},
    "lstm, attention": {"encoder": {**RECURRENT, "cell": "lstm"}, "head": {"pooling": "attention"}},
    "residual srn, max": {"encoder": {**RECURRENT, "cell": "residual_srn"}, "head": {"pooling": "max"}},
    "textcnn, max": {
        "encoder": {"kind": "textcnn", "kernels": (2, 5), "channels": (3, 4)},
        "head": {"pooling": "max"},
    },
    "textcnn, max_mean": {
        "encoder": {"kind": "textcnn", "kernels": (1, 4), "channels": (3, 4), "activation": "tanh"},
        "head": {"pooling": "max_mean", "hidden_size": 3, "activation": "tanh"},
    },
    "bag, mean": {"encoder": {"kind": "none"}, "head": {"pooling": "mean"}, "embedding": {"static_copy": True}},
    "bag, attention": {"encoder": {"kind": "none"}, "head": {"pooling": "attention"}},
    "textcnn, tags": {
        "encoder": {"kind": "textcnn", "kernels": (2, 5), "channels": (3, 4), "padding": "same"},
        "head": TAGS,
        "embedding": HASHED,
    },
    "lstm, crf": {"encoder": {**RECURRENT, "cell": "lstm"}, "head": {**TAGS, "crf": True}, "embedding": HASHED},
}


def model_of(case: str) -> Model:
    tree = CASES[case]
    embedding = {"vocab_size": VOCABULARY, "dim": 6, **tree.get("embedding", {})}
    return Model.model_validate({**tree, "embedding": embedding})


def arrays_of(model: Model, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw parameters that are exact in float32; row 0 of a table is not zero, as nothing may read it."""
    # Smaller ones for SRN cells, which have no gates and amplify rounding errors.
    scale = 0.2 if isinstance(model.encoder, RecurrentEncoder) and "srn" in model.encoder.cell else 0.4
    drawn = {row.name: rng.normal(0.0, scale, row.shape) for row in parameter_table(model)}
    return {name: array.astype(np.float32).astype(np.float64) for name, array in drawn.items()}


def batch_of(rng: np.random.Generator) -> Batch:
    sizes = [1, *rng.integers(2, 12, 3), 12, 1]
    return pad([rng.integers(1, VOCABULARY, size) for size in sizes], {"label": np.zeros(len(sizes), np.int64)})


def widened(batch: Batch, rng: np.random.Generator) -> np.ndarray:
    """Return the ids of a batch with three more columns, and anything at padding."""
    ids = rng.integers(0, VOCABULARY, (len(batch.ids), batch.ids.shape[1] + 3))
    real = np.arange(ids.shape[1]) < batch.lengths[:, None]
    ids[real] = batch.ids[batch.ids != 0]
    return ids
