"""TextCNN: parallel convolutions of several widths, in three equivalent implementations.

- `builtin`: the framework's convolution
- `loop`: a sum of matrix products, one per position of the kernel
- `fast`: the compiled kernels for the CPU (`backends/kernels`), forward and backward, which contain the maximum

`convolution(x)` of the first two: x [B, L + k - 1, I] -> [B, L, C], with a window at every position.
`core/models/encoders/textcnn.py` defines the valid windows.
"""

from __future__ import annotations

from backends.kernels.convolution_training import Placement
from backends.paddle.dropout import Dropout
from backends.paddle.fast import ConvolutionFunction
from backends.paddle.framework import paddle
from backends.paddle.linear import empty, linear, stacked_shape
from backends.paddle.precision import rounded
from backends.paddle.runtime import Inputs
from core import spec
from core.models.encoders.encoder import Block, Encoded

nn, F = paddle.nn, paddle.nn.functional


class Convolution(nn.Layer):
    """One kernel with `weight` [C, I, k] and `bias` [C], or [models, ...] with `models`."""

    def __init__(self, channels: int, inputs: int, width: int, dtype: str, models: int | None):
        super().__init__()
        self.weight = empty(*stacked_shape(models, channels, inputs, width), dtype=dtype)
        self.bias = empty(*stacked_shape(models, channels), dtype=dtype)


class BuiltinConvolution(Convolution):
    """The framework's convolution."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return F.conv1d(x.transpose([0, 2, 1]), self.weight, self.bias).transpose([0, 2, 1])


class LoopConvolution(Convolution):
    """The convolution as a sum of matrix products, one per position of the kernel."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        width = self.weight.shape[-1]
        length = x.shape[1] - width + 1
        total = None
        for u in range(width):
            rows = x[:, u : u + length].reshape([-1, x.shape[-1]])
            found = linear(rows, self.weight[..., u], self.bias if u == 0 else None)
            total = found if total is None else total + found
        return total.reshape([x.shape[0], length, -1])


IMPLEMENTATIONS = {"builtin": BuiltinConvolution, "loop": LoopConvolution, "fast": Convolution}
"""Convolution classes by implementation."""


def _padded(x: paddle.Tensor, before: int, after: int) -> paddle.Tensor:
    """Add zeros in time.

    Without them, a kernel that is wider than its input returns an empty tensor or ends the process
    (docs/differences.md, kernel_past_input).
    """
    sides = [paddle.zeros([x.shape[0], size, x.shape[2]], x.dtype) if size else None for size in (before, after)]
    parts = [part for part in (sides[0], x, sides[1]) if part is not None]
    return x if len(parts) == 1 else paddle.concat(parts, 1)


class TextCNNEncoder(nn.Layer):
    """All kernels of a spec in one implementation, with neutral names."""

    def __init__(
        self,
        encoder: spec.TextCNNEncoder,
        inputs: int,
        dtype: str,
        implementation: str,
        models: int | None = None,
    ):
        """Create the kernels. With `models`, every weight is [models, ...] (not in `builtin`)."""
        super().__init__()
        self.fast = implementation == "fast"
        self.kernels, self.activation = encoder.kernels, encoder.activation
        self.contexts = tuple(map(encoder.context, encoder.kernels))
        self.windows = tuple(map(encoder.window, encoder.kernels))
        self.rounds = False
        """True if x is rounded to bfloat16 (`precision.py`)."""
        self.returns_layers = False
        """True if `fast` returns the layers too, which it does not need; the others always do."""
        self.convolutions = nn.LayerList(
            IMPLEMENTATIONS[implementation](channels, inputs, width, dtype, models)
            for width, channels in zip(encoder.kernels, encoder.channels, strict=True)
        )

    def forward(self, x: paddle.Tensor, inputs: Inputs, dropout: Dropout) -> Encoded:
        """Encode x [B, L, I], zero at padding.

        `encoder.conv{j}` [B, L, C_j] is zero at invalid windows.
        """
        layers, blocks = {}, []
        x = rounded(x, self.rounds)
        if self.fast:
            return self.maxima(x, inputs)
        for number, convolution in enumerate(self.convolutions):
            width = self.kernels[number]
            before, windows = self.contexts[number], inputs.windows(self.windows[number])
            values = convolution(_padded(x, before, width - 1 - before)) * windows.mask
            layers[f"encoder.conv{number}"] = values
            blocks.append(Block(values, windows))
        return Encoded(tuple(blocks), layers, activation=self.activation)

    def maxima(self, x: paddle.Tensor, inputs: Inputs) -> Encoded:
        """Encode x by the compiled kernels, which pool by maximum."""
        placements = tuple(map(Placement, self.contexts, self.windows))
        weights = [own for convolution in self.convolutions for own in (convolution.weight, convolution.bias)]
        found = ConvolutionFunction.apply(placements, inputs.lengths, self.returns_layers, x, *weights)
        number = len(placements)
        layers = {f"encoder.conv{place}": layer for place, layer in enumerate(found[number:])}
        blocks = tuple(
            Block(own, inputs.windows(width), pooled=True)
            for own, width in zip(found[:number], self.windows, strict=True)
        )
        return Encoded(blocks, layers, activation=self.activation)

    def named(self) -> dict[str, paddle.Tensor]:
        return {
            f"encoder.conv{number}.{kind}": getattr(convolution, kind)
            for number, convolution in enumerate(self.convolutions)
            for kind in ("weight", "bias")
        }
