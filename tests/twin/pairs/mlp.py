"""A network with two heads that returns a dictionary, once in each framework."""

import paddle
import torch
from paddle import nn as pnn
from torch import nn as tnn
from torch.nn import functional as tf

CLASSES = ("TorchModel", "PaddleModel")
INPUTS = ("features=float[6,8]", "groups=float[6,3]")
"""As many features as hidden units: a weight that is not transposed raises no error."""


class TorchModel(tnn.Module):
    """features [B, 8], groups [B, 3] -> {"class": [B, 2], "value": [B, 2]}."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.side = tnn.Linear(3, 8)
        self.first = tnn.Linear(8, 8)
        self.norm = tnn.LayerNorm(8)
        self.act = tnn.GELU()
        self.second = tnn.Linear(8, 8)
        self.slope = tnn.PReLU()
        self.dropout = tnn.Dropout(0.2)
        self.classes = tnn.Linear(8, 2)
        self.softmax = tnn.Softmax(dim=-1)
        self.values = tnn.Linear(8, 2)

    def forward(self, features, groups):
        x = self.act(self.norm(self.first(features) + self.side(groups)))
        x = x + self.dropout(self.slope(self.second(x)))
        return {
            "class": self.softmax(self.classes(x)),
            "value": self.values(x.detach() if self.fault == "detach" else x),
        }


class PaddleModel(pnn.Layer):
    """features [B, 8], groups [B, 3] -> {"class": [B, 2], "value": [B, 2]}."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.side = pnn.Linear(3, 8, bias_attr=False if fault == "no_bias" else None)
        self.first = pnn.Linear(8, 8)
        self.norm = pnn.LayerNorm(8, epsilon=1e-12 if fault == "epsilon" else 1e-5)
        self.act = pnn.GELU(approximate=fault == "approximate")
        self.second = pnn.Linear(8, 8)
        self.slope = pnn.PReLU()
        self.dropout = pnn.Dropout(0.3 if fault == "rate" else 0.2)
        self.classes = pnn.Linear(8, 2)
        self.softmax = pnn.Softmax(axis=0 if fault == "axis" else -1)
        self.values = pnn.Linear(8, 2)
        if fault == "evaluation":
            self.dropout.eval()

    def forward(self, features, groups):
        first, second = (self.second, self.first) if self.fault == "order" else (self.first, self.second)
        x = first(features)
        if self.fault != "no_side":
            x = x + self.side(groups)
        x = self.norm(self.act(x)) if self.fault == "norm_last" else self.act(self.norm(x))
        more = self.dropout(self.slope(second(x)))
        x = more if self.fault == "no_residual" else x + more
        values = self.values(x)
        classes = self.classes(x) if self.fault == "no_softmax" else self.softmax(self.classes(x))
        if self.fault == "sigmoid":
            values = pnn.functional.sigmoid(values)
        if self.fault == "swapped":
            return {"class": values, "value": classes}
        return {"class": classes, "value": values}

    def train(self):
        super().train()
        if self.fault == "evaluation":
            self.dropout.eval()
        return self


class PaddleTree(pnn.Layer):
    """The same network: equal shapes defined last first, other names, functions for modules, a tuple as result."""

    def __init__(self, fault=""):
        super().__init__()
        self.heads = pnn.LayerList([pnn.Linear(8, 2), pnn.Linear(8, 2)])
        self.dense_b = pnn.Linear(8, 8)
        self.dense_a = pnn.Linear(8, 8)
        self.dense_g = pnn.Linear(3, 8)
        self.prelu = pnn.PReLU()
        self.ln = pnn.LayerNorm([8])

    def forward(self, features, groups):
        x = pnn.functional.gelu(self.ln(self.dense_g(groups) + self.dense_a(features)))
        hidden = self.prelu(self.dense_b(x))
        x = pnn.functional.dropout(hidden, 0.2, training=self.training) + x
        values, classes = (head(x) for head in self.heads)
        return pnn.functional.softmax(classes, axis=-1), values


class TorchShared(tnn.Module):
    """One layer called three times: features [B, 8] -> [B, 2]."""

    def __init__(self, fault=""):
        super().__init__()
        self.layer = tnn.Linear(8, 8)
        self.norm = tnn.BatchNorm1d(8)
        self.out = tnn.Linear(8, 2)

    def forward(self, features, groups):
        x = features
        for _ in range(3):
            x = tf.elu(self.layer(x))
        return self.out(self.norm(x)) * groups.sum()


class PaddleShared(pnn.Layer):
    """The same network; the shared layer is listed under three names."""

    def __init__(self, fault=""):
        super().__init__()
        self.layers = pnn.LayerList([pnn.Linear(8, 8)] * (2 if fault == "twice" else 3))
        self.norm = pnn.BatchNorm1D(8)
        self.out = pnn.Linear(8, 2)

    def forward(self, features, groups):
        x = features
        for layer in self.layers:
            x = pnn.functional.elu(layer(x))
        return self.out(self.norm(x)) * paddle.sum(groups)


class TorchTwice(tnn.Module):
    """A network with numbers of one's own: RMSNorm by hand and group normalization, features [B, 8] -> (a, b)."""

    def __init__(self, fault=""):
        super().__init__()
        self.gain = tnn.Parameter(torch.ones(8))
        self.group = tnn.GroupNorm(2, 8)
        self.out = tnn.Linear(8, 3)

    def forward(self, features, groups):
        x = features * torch.rsqrt(features.pow(2).mean(-1, keepdim=True) + 1e-6) * self.gain
        return self.out(x), self.group(x) * groups[:, :1]


class PaddleTwice(pnn.Layer):
    """The same network; it may have its epsilon outside the root, or another number of groups."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.gain = self.create_parameter([8], default_initializer=pnn.initializer.Constant(1.0))
        self.group = pnn.GroupNorm(4 if fault == "groups" else 2, 8)
        self.out = pnn.Linear(8, 3)

    def forward(self, features, groups):
        square = (features * features).mean(axis=-1, keepdim=True)
        root = paddle.sqrt(square) + 1e-6 if self.fault == "root" else paddle.sqrt(square + 1e-6)
        x = features / root * self.gain
        return self.out(x), self.group(x) * groups[:, :1]
