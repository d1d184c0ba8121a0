"""No network: the logits are those of the linear model of n-grams (`core/models/ngrams.py`).

It is fitted without a framework, in seconds, and shows what a network adds.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from core.batch import Batch
from core.models.encoders.encoder import Encoded, Encoder, Places, Products
from core.models.parameters import Parameter
from core.models.precision import Rounding, exactly
from core.models.types import Arrays, Dropout


class NgramEncoder(Encoder):
    poolings: ClassVar[tuple[str, ...]] = ("last", "mean", "max", "max_mean", "last_max_mean", "ends", "attention")
    part: ClassVar[str] = "no encoder"

    kind: Literal["ngrams"] = "ngrams"

    @property
    def implementations(self) -> tuple[str, ...]:
        """No framework computes it."""
        return ()

    def output_size(self, inputs: int) -> int:
        return 0

    def values_per_token(self, inputs: int) -> int:
        return 0

    def products(self, inputs: int, lengths: np.ndarray, pooling: str | None) -> Products:
        return Products()

    def parameters(self, inputs: int) -> list[Parameter]:
        return []

    def forward(
        self, arrays: Arrays, x: np.ndarray, batch: Batch, dropout: Dropout, rounded: Rounding = exactly
    ) -> Encoded:
        raise NotImplementedError("a linear model of n-grams has no encoder")

    def dropout_places(self, rows: int, width: int, inputs: int) -> Places:
        return {}

    @property
    def label(self) -> str:
        return "n-grams"

    def describe(self) -> str:
        return "no network"
