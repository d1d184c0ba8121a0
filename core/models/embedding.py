"""The embedding: its spec and its NumPy definition."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from core.batch import Batch
from core.models.encoders.encoder import Places
from core.models.parameters import Init, Parameter
from core.models.types import Arrays, Dropout
from core.schema import DropoutRate, Spec

TABLE, STATIC_TABLE = "embedding.weight", "embedding.static.weight"


class Embedding(Spec):
    vocab_size: int = Field(30000, ge=2)
    """Rows, PAD (0) and UNK (1) included. Set to the real size once the vocabulary is built."""
    dim: int = Field(128, ge=1)
    lookup: Literal["index", "one_hot"] = "index"
    """`one_hot` multiplies by one-hot vectors: the same numbers, the textbook's way to see that look-up is linear."""
    vectors: str | None = Field(None, min_length=1)
    """`glove-6b-50d` or a file's path: words found there start so, the others as `init` says. They are `dim` wide."""
    trainable: bool = True
    static_copy: bool = False
    """A second table with the same starting values, which is never trained; a word is both its vectors, joined (Kim
    2014, "multichannel")."""
    dropout: DropoutRate = 0.0
    init: Init = Init(scheme="normal", scale=1.0)

    @model_validator(mode="after")
    def _one_hot_fits_in_memory(self):
        if self.lookup == "one_hot" and self.vocab_size > 20000:
            raise ValueError("a one_hot look-up builds [B, L, V] and is limited to vocab_size <= 20000")
        return self

    @property
    def output_size(self) -> int:
        return 2 * self.dim if self.static_copy else self.dim

    def parameters(self) -> list[Parameter]:
        """`embedding.weight` [V, E]; with `static_copy` `embedding.static.weight` [V, E] too."""
        shape = self.vocab_size, self.dim
        trained = Parameter(TABLE, shape, self.init, self.dim, trainable=self.trainable, looked_up=True)
        if not self.static_copy:
            return [trained]
        return [trained, replace(trained, name=STATIC_TABLE, trainable=False, drawn_as=TABLE)]

    def forward(self, arrays: Arrays, batch: Batch, dropout: Dropout) -> np.ndarray:
        """ids [B, L] -> [B, L, E],
        [B, L, 2E] with `static_copy`. PAD (id 0) is the zero vector whatever row 0 is."""
        vectors = np.concatenate([self._look_up(arrays[row.name], batch) for row in self.parameters()], axis=-1)
        return dropout(vectors * (batch.ids != 0)[:, :, None], "embedding", self.dropout)

    def _look_up(self, weight: np.ndarray, batch: Batch) -> np.ndarray:
        if self.lookup == "one_hot":
            return np.eye(self.vocab_size)[batch.ids] @ weight  # [B, L, V] @ [V, E]
        return weight[batch.ids]

    def dropout_places(self, rows: int, width: int) -> Places:
        return {"embedding": ((rows, width, self.output_size), self.dropout)}

    def describe(self) -> str:
        copy = " and a static copy" if self.static_copy else ""
        return f"embedding {self.vocab_size:,} x {self.dim}{copy}"
