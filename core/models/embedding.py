"""The embedding: spec and NumPy reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from core.batch import UNK, Batch
from core.models.bigrams import bigram_ids
from core.models.encoders.encoder import Places
from core.models.parameters import Init, Parameter
from core.models.types import Arrays, Dropout
from core.schema import DropoutRate, Spec

FIRST_DIGIT = UNK + 1
"""Id of the digit 0."""
TABLE, STATIC_TABLE, BIGRAM_TABLE = "embedding.weight", "embedding.static.weight", "embedding.bigrams.weight"


class Embedding(Spec):
    vocab_size: int = Field(default=30000, ge=2)
    """Number of rows, including PAD (0) and UNK (1); set to the actual vocabulary size."""
    dim: int = Field(default=128, ge=1)
    lookup: Literal["index", "one_hot", "scalar"] = "index"
    """How a token becomes a vector.

    `one_hot` multiplies by one-hot vectors: equal results, the textbook's view of look-up. `scalar`: no table; a digit
    is its value, one input of size 1 (`dim` 1). It is id - 2, as the ids of the digits 0 to 9 are 2 to 11; padding is
    0. It needs data of digits.
    """
    vectors: str | None = Field(default=None, min_length=1)
    """Pretrained vectors of size `dim`: `glove-6b-50d`, a path, or `word2vec` for those of the section `words`.

    Words without a vector start as `vectors_missing` says.
    """
    vectors_missing: Literal["init", "zero", "mean"] = "init"
    """Initial rows of UNK and of words without a vector: drawn as in `init`, zero, or the mean of the found vectors."""
    vectors_scale: float = Field(default=1.0, gt=0.0)
    """Factor of the pretrained vectors.

    Components of GloVe 6B with 50 dimensions have a standard deviation of 0.69; the default recipe draws 0.1.
    """
    trainable: bool = True
    static_copy: bool = False
    """Add a frozen table with the same initial values and concatenate (Kim 2014, multichannel)."""
    bigrams: int = Field(default=0, ge=0)
    """Rows of a table of bigrams, whose vectors are concatenated; 0: none.

    A bigram is a token with the one before it; rows are hashed (`core/models/bigrams.py`). Taggers of Chinese
    characters gain by it.
    """
    bigram_dim: int = Field(default=64, ge=1)
    """Dimension of the bigram vectors."""
    dropout: DropoutRate = 0.0
    init: Init = Init(scheme="normal", scale=1.0)

    @model_validator(mode="after")
    def _one_hot_fits_in_memory(self):
        if self.lookup == "one_hot" and self.vocab_size > 20000:
            raise ValueError(
                f"lookup one_hot needs vocab_size <= 20000, as it builds [B, L, V], got {self.vocab_size}:"
                f" lower vocab_size, or use lookup index"
            )
        return self

    @model_validator(mode="after")
    def _vectors_fields_need_vectors(self):
        if self.vectors is None and (self.vectors_missing != "init" or self.vectors_scale != 1.0):
            raise ValueError("vectors_missing and vectors_scale need vectors: set vectors, or omit them")
        return self

    @model_validator(mode="after")
    def _scalar_has_no_table(self):
        if self.lookup == "scalar" and (self.dim != 1 or self.static_copy or self.vectors is not None):
            raise ValueError("lookup scalar has no table: set dim 1, and omit static_copy and vectors")
        return self

    @model_validator(mode="after")
    def _bigrams_have_rows(self):
        if self.bigrams and (self.bigrams < 2 or self.lookup == "scalar"):
            raise ValueError(f"bigrams {self.bigrams}: expected 0, or at least 2 and a lookup other than scalar")
        return self

    @property
    def output_size(self) -> int:
        return self.dim * (1 + self.static_copy) + (self.bigram_dim if self.bigrams else 0)

    def parameters(self) -> list[Parameter]:
        """Return `embedding.weight` [V, E], with `static_copy` `embedding.static.weight`, and that of `bigrams`.

        `embedding.bigrams.weight` is [bigrams, bigram_dim]. There is no parameter for `scalar`.
        """
        if self.lookup == "scalar":
            return []
        shape = self.vocab_size, self.dim
        trained = Parameter(TABLE, shape, self.init, self.dim, trainable=self.trainable, looked_up=True)
        rows = [trained]
        if self.static_copy:
            rows.append(replace(trained, name=STATIC_TABLE, trainable=False, drawn_as=TABLE))
        if self.bigrams:
            shape = self.bigrams, self.bigram_dim
            rows.append(Parameter(BIGRAM_TABLE, shape, self.init, self.bigram_dim, looked_up=True))
        return rows

    def forward(self, arrays: Arrays, batch: Batch, dropout: Dropout) -> np.ndarray:
        """Look up ids [B, L] -> [B, L, `output_size`].

        PAD (id 0) maps to the zero vector, whatever row 0 contains.
        """
        if self.lookup == "scalar":
            dtype = next(iter(arrays.values())).dtype  # that of the layers: complex in a complex step
            values = (batch.ids - FIRST_DIGIT).astype(dtype) * (batch.ids != 0)
            return dropout(values[:, :, None], "embedding", self.dropout)
        tables = [arrays[row.name] for row in self.parameters() if row.name != BIGRAM_TABLE]
        parts = [self._look_up(table, batch) for table in tables]
        if self.bigrams:
            parts.append(arrays[BIGRAM_TABLE][bigram_ids(batch.ids, self.bigrams)])
        vectors = np.concatenate(parts, axis=-1)
        return dropout(vectors * (batch.ids != 0)[:, :, None], "embedding", self.dropout)

    def _look_up(self, weight: np.ndarray, batch: Batch) -> np.ndarray:
        if self.lookup == "one_hot":
            return np.eye(self.vocab_size)[batch.ids] @ weight  # [B, L, V] @ [V, E]
        return weight[batch.ids]

    def words(self, arrays: Arrays, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of the target tokens [B, L, E] and of the noise words [K, E], without dropout.

        Without noise, those of all words but PAD replace it [V - 1, E]. The row of PAD is zero.
        """
        table, tokens = arrays[TABLE], batch.targets["tokens"]
        noise = np.arange(1, len(table)) if batch.noise is None else batch.noise.ids
        return table[tokens] * (tokens != 0)[:, :, None], table[noise]

    def dropout_places(self, rows: int, width: int) -> Places:
        return {"embedding": ((rows, width, self.output_size), self.dropout)}

    def describe(self) -> str:
        if self.lookup == "scalar":
            return "digits as numbers"
        copy = " and a static copy" if self.static_copy else ""
        bigrams = f" and {self.bigrams:,} bigrams x {self.bigram_dim}" if self.bigrams else ""
        return f"embedding {self.vocab_size:,} x {self.dim}{copy}{bigrams}"
