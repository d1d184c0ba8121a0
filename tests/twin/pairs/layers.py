"""Layers that the other pairs do not have, as users write them: norms, cells, layouts, residual networks."""

from typing import NamedTuple

import paddle
import torch
from paddle import nn as pnn
from torch import nn as tnn
from torch.nn import functional as tf

INPUTS = ("x=float[4,6,7]",)
CLASSES = ("TorchMix", "PaddleMix")


class LayerNorm(tnn.Module):
    """A class of one's own with the framework's name: normalized over channels of [B, C, L]."""

    def __init__(self, channels):
        super().__init__()
        self.weight = tnn.Parameter(torch.ones(channels))
        self.bias = tnn.Parameter(torch.zeros(channels))

    def forward(self, x):
        mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
        return (x - mean) / torch.sqrt(variance + 1e-6) * self.weight[:, None] + self.bias[:, None]


class PaddleLayerNorm(pnn.Layer):
    """The same; `unbiased` divides by one less, as Paddle's `var` does by default."""

    def __init__(self, channels, unbiased=False):
        super().__init__()
        self.unbiased = unbiased
        self.weight = self.create_parameter([channels], default_initializer=pnn.initializer.Constant(1.0))
        self.bias = self.create_parameter([channels], is_bias=True)

    def forward(self, x):
        mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=self.unbiased)
        normal = (x - mean) / paddle.sqrt(variance + 1e-6)
        return normal * self.weight.unsqueeze(1) + self.bias.unsqueeze(1)


class TorchMix(tnn.Module):
    """A depthwise residual block, channel dropout and squeeze-and-excitation: x [B, 6, L] -> (a, b)."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.depthwise = tnn.Conv1d(6, 6, 3, padding="same", groups=6)
        self.norm = LayerNorm(6)
        self.pointwise = tnn.Conv1d(6, 6, 1)
        self.act = tnn.SiLU(inplace=True)
        self.drop = tnn.Dropout1d(0.4)
        self.squeeze = tnn.Linear(6, 3)
        self.excite = tnn.Linear(3, 6)
        self.unused = tnn.Linear(2, 2)
        self.register_buffer("scale", torch.ones(6, 1))
        self.down = tnn.ConvTranspose1d(6, 4, 3, stride=2, padding=1, output_padding=1)
        self.last = tnn.GroupNorm(2, 4)

    def forward(self, x):
        y = self.drop(self.act(self.pointwise(self.norm(self.depthwise(x)))))
        # A slope of 0.2, as three units of a ReLU can all be 0, and hide a fault before it.
        gate = torch.sigmoid(self.excite(tf.leaky_relu(self.squeeze(y.mean(-1)), 0.2)))
        y = x + self.scale * y * gate[..., None]
        return Mixed(self.last(self.down(y)), {"gate": gate, "states": [y, y.amax(-1)]})


class Mixed(NamedTuple):
    """A result with names, a dictionary and a list."""

    output: object
    more: object


class PaddleMix(pnn.Layer):
    """The same block."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.depthwise = pnn.Conv1D(6, 6, 3, padding="valid" if fault == "same" else "same", groups=6)
        self.norm = PaddleLayerNorm(6, fault == "unbiased")
        self.pointwise = pnn.Conv1D(6, 6, 1)
        self.act = pnn.Hardswish() if fault == "hardswish" else pnn.Silu()
        self.drop = pnn.Dropout(0.4) if fault == "units" else pnn.Dropout(0.4, axis=[0, 1])
        self.squeeze = pnn.Linear(6, 3)
        self.excite = pnn.Linear(3, 6)
        self.unused = pnn.Linear(2, 2)
        self.register_buffer("scale", paddle.ones([6, 1]))
        self.down = pnn.Conv1DTranspose(6, 4, 3, stride=2, padding=1, output_padding=0 if fault == "output" else 1)
        self.last = pnn.GroupNorm(2, 4, epsilon=1e-3 if fault == "epsilon" else 1e-5)

    def forward(self, x):
        y = self.drop(self.act(self.pointwise(self.norm(self.depthwise(x)))))
        if self.fault == "same":
            y = pnn.functional.pad(y, [2, 0], data_format="NCL")
        pooled = y.max(axis=-1) if self.fault == "pooled" else y.mean(axis=-1)
        excited = self.excite(pnn.functional.leaky_relu(self.squeeze(pooled), 0.2))
        gate = pnn.functional.hardsigmoid(excited) if self.fault == "gate" else pnn.functional.sigmoid(excited)
        added = self.scale * y * gate.unsqueeze(-1)
        y = y + added if self.fault == "skip" else x + added
        return self.last(self.down(y)), gate, y, y.amax(-1)


class TorchStack(tnn.Module):
    """Two layers of a bidirectional LSTM, time first, and attention with weights: x [B, 6, 7] -> (y, weights)."""

    def __init__(self, fault=""):
        super().__init__()
        self.lstm = tnn.LSTM(7, 4, num_layers=2, bidirectional=True)
        self.attention = tnn.MultiheadAttention(8, 2, dropout=0.2)
        self.norm = tnn.LayerNorm(8)
        self.cell = tnn.GRUCell(8, 5)
        self.rnn = tnn.RNN(8, 3, nonlinearity="relu")

    def forward(self, x):
        h, (state, _) = self.lstm(x.transpose(0, 1))
        y, weights = self.attention(h, h, h)
        y = self.norm(h + y)
        last = y.new_zeros(x.shape[0], 5)
        for step in y:
            last = self.cell(step, last)
        return y, weights, last, self.rnn(y)[0], state


class PaddleStack(pnn.Layer):
    """The same model, batch first."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.lstm = pnn.LSTM(7, 4, num_layers=2, direction="bidirect")
        self.attention = pnn.MultiHeadAttention(8, 4 if fault == "heads" else 2, dropout=0.2, need_weights=True)
        self.norm = pnn.LayerNorm(8)
        self.cell = pnn.GRUCell(8, 5)
        self.rnn = pnn.SimpleRNN(8, 3, activation="tanh" if fault == "nonlinearity" else "relu")

    def forward(self, x):
        h, (state, _) = self.lstm(x)
        y, weights = self.attention(h, h, x[:, :, :1] * h if self.fault == "value" else h)
        y = self.norm(h + y)
        last = None
        steps = reversed(range(y.shape[1])) if self.fault == "backwards" else range(y.shape[1])
        for step in steps:
            last, _ = self.cell(y[:, step], last)
        if self.fault == "order_of_states":
            state = paddle.stack([state[0], state[2], state[1], state[3]])
        return y, weights.mean(1), last, self.rnn(y)[0], state


class TorchResidual(tnn.Module):
    """A residual network of two stages with a global average: x [B, 6, 7] -> [B, 3]."""

    def __init__(self, fault=""):
        super().__init__()
        self.stem = tnn.Sequential(tnn.Conv2d(1, 4, 3, padding=1, bias=False), tnn.BatchNorm2d(4), tnn.ReLU())
        self.layer1 = tnn.Sequential(TorchUnit(4, 4, 1), TorchUnit(4, 4, 1))
        self.layer2 = tnn.Sequential(TorchUnit(4, 6, 2), TorchUnit(6, 6, 1))
        self.fc = tnn.Linear(6, 3)

    def forward(self, x):
        x = self.layer2(self.layer1(self.stem(x[:, None])))
        return self.fc(tf.adaptive_avg_pool2d(x, 1).flatten(1))


class TorchUnit(tnn.Module):
    """Two convolutions around a skip connection."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = tnn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = tnn.BatchNorm2d(outputs)
        self.relu = tnn.ReLU(inplace=True)
        self.conv2 = tnn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = tnn.BatchNorm2d(outputs)
        self.shortcut = None
        if stride > 1 or inputs != outputs:
            self.shortcut = tnn.Sequential(tnn.Conv2d(inputs, outputs, 1, stride, bias=False), tnn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class PaddleResidual(pnn.Layer):
    """The same network; a fault is in the second unit of the first stage."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.conv = pnn.Conv2D(1, 4, 3, padding=1, bias_attr=False)
        self.bn = pnn.BatchNorm2D(4)
        self.units = pnn.LayerList(
            [PaddleUnit(4, 4, 1), PaddleUnit(4, 4, 1, fault), PaddleUnit(4, 6, 2), PaddleUnit(6, 6, 1)]
        )
        self.fc = pnn.Linear(6, 3)

    def forward(self, x):
        x = pnn.functional.relu(self.bn(self.conv(x.unsqueeze(1))))
        for unit in self.units:
            x = unit(x)
        return self.fc(pnn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class PaddleUnit(pnn.Layer):
    """Two convolutions around a skip connection."""

    def __init__(self, inputs, outputs, stride, fault=""):
        super().__init__()
        self.fault = fault
        self.down_conv = pnn.Conv2D(inputs, outputs, 1, stride, bias_attr=False) if stride > 1 else None
        self.down_bn = pnn.BatchNorm2D(outputs) if stride > 1 else None
        self.conv1 = pnn.Conv2D(inputs, outputs, 3, stride, 1, bias_attr=False)
        self.bn1 = pnn.BatchNorm2D(outputs, epsilon=1e-3 if fault == "epsilon" else 1e-5)
        wide = 2 if fault == "dilated" else 1
        self.conv2 = pnn.Conv2D(outputs, outputs, 3, 1, padding=wide, dilation=wide, bias_attr=False)
        self.bn2 = pnn.BatchNorm2D(outputs, momentum=0.99 if fault == "momentum" else 0.9)

    def forward(self, x):
        y = self.bn1(self.conv1(x))
        if self.fault != "no_relu":
            y = pnn.functional.relu(y)
        y = self.bn2(self.conv2(y))
        skip = x if self.down_conv is None else self.down_bn(self.down_conv(x))
        if self.fault == "skip":
            return pnn.functional.relu(y)
        if self.fault == "relu_first":
            return pnn.functional.relu(y) + skip
        return pnn.functional.relu(y + skip)
