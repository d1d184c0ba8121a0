"""Bag of word vectors: no encoder, the head pools the vectors themselves.

With a hidden layer in the head it is the multilayer perceptron of the course notes, and the BoW model of PaddleNLP's
text classification. It shows what reading the order of the words adds.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from core.batch import Batch, Windows
from core.models.encoders.encoder import Block, Encoded, Encoder, Places, Products
from core.models.parameters import Parameter
from core.models.precision import Rounding, exactly
from core.models.types import Arrays, Dropout


class BagEncoder(Encoder):
    poolings: ClassVar[tuple[str, ...]] = ("mean", "max", "max_mean", "attention")
    part: ClassVar[str] = "no encoder"

    kind: Literal["none"] = "none"

    @property
    def implementations(self) -> tuple[str, ...]:
        """All compute the same; `fast` has the compiled pooling and the embedding gradient by rows."""
        return ("fast", "builtin", "loop")

    @property
    def per_token(self) -> bool:
        return True

    def output_size(self, inputs: int) -> int:
        return inputs

    def values_per_token(self, inputs: int) -> int:
        return 0

    def products(self, inputs: int, lengths: np.ndarray, pooling: str | None) -> Products:
        return Products()

    def parameters(self, inputs: int) -> list[Parameter]:
        return []

    def forward(
        self, arrays: Arrays, x: np.ndarray, batch: Batch, dropout: Dropout, rounded: Rounding = exactly
    ) -> Encoded:
        return Encoded((Block(x, Windows(batch)),))

    def dropout_places(self, rows: int, width: int, inputs: int) -> Places:
        return {}

    @property
    def label(self) -> str:
        return "bag of words"

    def describe(self) -> str:
        return "bag of word vectors"
