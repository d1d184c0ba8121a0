"""The embedding: its spec and its NumPy definition."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from core.batch import Batch
from core.models.parameters import Init
from core.models.types import Arrays
from core.schema import DropoutRate, Spec


class Embedding(Spec):
    vocab_size: int = Field(30000, ge=2)
    """Rows, PAD (0) and UNK (1) included. Set to the real size once the vocabulary is built."""
    dim: int = Field(128, ge=1)
    lookup: Literal["index", "one_hot"] = "index"
    """`one_hot` multiplies by one-hot vectors: the same numbers, the textbook's way to see that look-up is linear."""
    vectors: str | None = Field(None, min_length=1)
    """`glove-6b-50d` or a file's path: words found there start so, the others as `init` says. They are `dim` wide."""
    trainable: bool = True
    dropout: DropoutRate = 0.0
    init: Init = Init(scheme="normal", scale=1.0)

    @model_validator(mode="after")
    def _one_hot_fits_in_memory(self):
        if self.lookup == "one_hot" and self.vocab_size > 20000:
            raise ValueError("a one_hot look-up builds [B, L, V] and is limited to vocab_size <= 20000")
        return self


def embed(embedding: Embedding, parameters: Arrays, batch: Batch) -> np.ndarray:
    """ids [B, L] -> [B, L, E]; PAD (id 0) is the zero vector whatever row 0 holds."""
    weight = parameters["embedding.weight"]
    if embedding.lookup == "one_hot":
        one_hot = np.eye(embedding.vocab_size)[batch.ids]  # [B, L, V]
        vectors = one_hot @ weight
    else:
        vectors = weight[batch.ids]
    return vectors * (batch.ids != 0)[:, :, None]
