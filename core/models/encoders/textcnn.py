"""TextCNN: parallel convolutions of several widths (Kim 2014; d2l, sentiment-analysis-cnn).

`y_j[b, t, c] = bias[c] + sum over u < k, i of W[c, i, u] x[b, t + u, i]`, a cross-correlation, as in both frameworks. A
window is valid if it lies within the real tokens, t = 0 .. n - k. A text shorter than the kernel has one valid window,
t = 0, padded with zeros. A head pools over the valid windows. The activation is monotone, so it can follow pooling.

With `padding` same, the window of output t is centered on token t, `x[b, t + u - (k - 1) // 2, i]`, with zeros outside
the text. Every real token then has a valid window, as a head per token needs.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from core.batch import Batch, Windows
from core.models.encoders.encoder import Block, Encoded, Encoder, Places, Products
from core.models.parameters import Init, Parameter
from core.models.precision import Rounding, exactly
from core.models.types import Arrays, Dropout


class TextCNNEncoder(Encoder):
    poolings: ClassVar[tuple[str, ...]] = ("max", "mean", "max_mean")
    part: ClassVar[str] = "convolution"
    fused_pooling: ClassVar[str | None] = "max"

    kind: Literal["textcnn"] = "textcnn"
    kernels: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(default=(3, 4, 5), min_length=1)
    """Kernel widths in tokens, all different."""
    channels: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(100, 100, 100), min_length=1)
    """Output features of each kernel."""
    padding: Literal["valid", "same"] = "valid"
    """`valid`: windows within the text, by their first token; `same`: one window per token, centered on it."""
    activation: Literal["relu", "tanh"] = "relu"
    """Activation after pooling."""
    init: Init = Init(scheme="fan_uniform")

    @model_validator(mode="after")
    def _channels_for_each_kernel(self):
        if len(self.channels) != len(self.kernels):
            raise ValueError(
                f"got {len(self.channels)} channels, expected {len(self.kernels)}: give one number per kernel"
            )
        if len(set(self.kernels)) != len(self.kernels):
            raise ValueError("repeated kernel width: kernels must differ")
        return self

    @property
    def implementations(self) -> tuple[str, ...]:
        return ("fast", "builtin", "loop")

    @property
    def per_token(self) -> bool:
        return self.padding == "same"

    def context(self, width: int) -> int:
        """Return the number of tokens before t in the window of output t."""
        return (width - 1) // 2 if self.padding == "same" else 0

    def window(self, width: int) -> int:
        """Return the width of the windows (`core.batch.Windows`) that are valid for a kernel."""
        return 1 if self.padding == "same" else width

    def output_size(self, inputs: int) -> int:
        return sum(self.channels)

    def values_per_token(self, inputs: int) -> int:
        # `fast` keeps none of them.
        return sum(self.channels)

    def products(self, inputs: int, lengths: np.ndarray, pooling: str | None) -> Products:
        """Return the operations; a maximum has the gradient of one window per text and channel."""
        forward = gradient = 0.0
        for width, channels in zip(self.kernels, self.channels, strict=True):
            windows = int(np.maximum(lengths - self.window(width) + 1, 1).sum())
            forward += 2.0 * windows * channels * width * inputs
            gradient += 2.0 * (len(lengths) if pooling == "max" else windows) * channels * width * inputs
        return Products(forward, gradient, 0.0, gradient)

    def parameters(self, inputs: int) -> list[Parameter]:
        """Return `encoder.conv{j}.weight` [C_j, I, k_j], `encoder.conv{j}.bias` [C_j] per kernel j."""
        rows = []
        for number, (width, channels) in enumerate(zip(self.kernels, self.channels, strict=True)):
            name, fan = f"encoder.conv{number}", inputs * width
            rows.append(Parameter(f"{name}.weight", (channels, inputs, width), self.init, fan))
            rows.append(Parameter(f"{name}.bias", (channels,), self.init, fan))
        return rows

    def forward(
        self, arrays: Arrays, x: np.ndarray, batch: Batch, dropout: Dropout, rounded: Rounding = exactly
    ) -> Encoded:
        layers, blocks, x = {}, [], rounded(x)
        for number, width in enumerate(self.kernels):
            weight, bias = rounded(arrays[f"encoder.conv{number}.weight"]), arrays[f"encoder.conv{number}.bias"]
            before = self.context(width)
            padded = np.pad(x, ((0, 0), (before, width - 1 - before), (0, 0)))
            values = bias + sum(padded[:, u : u + x.shape[1]] @ weight[:, :, u].T for u in range(width))
            windows = Windows(batch, self.window(width))
            values = layers[f"encoder.conv{number}"] = np.where(windows.mask, values, 0.0)
            blocks.append(Block(values, windows))
        return Encoded(tuple(blocks), layers, activation=self.activation)

    def dropout_places(self, rows: int, width: int, inputs: int) -> Places:
        return {}

    @property
    def label(self) -> str:
        return f"TextCNN {'+'.join(map(str, self.kernels))}"

    def describe(self) -> str:
        kernels = ", ".join(f"{width} x {size}" for width, size in zip(self.kernels, self.channels, strict=True))
        centered = ", centered windows" if self.padding == "same" else ""
        return f"TextCNN {kernels} ({self.activation}{centered})"
