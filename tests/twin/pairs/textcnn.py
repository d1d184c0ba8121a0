"""A convolutional network over word vectors with the maximum over time, once in each framework."""

import paddle
import torch
from paddle import nn as pnn
from torch import nn as tnn
from torch.nn import functional as tf

CLASSES = ("TorchNet", "PaddleNet")
INPUTS = ("ids=int[12,5]:200",)
"""Many words for few tokens: equal windows have equal maxima, and the frameworks differ in the gradients of those."""
KERNELS = (3, 3, 2)
"""Two equal kernels, so that shapes alone do not tell them apart."""


def prepare(inputs):
    """Pad half of the texts."""
    inputs["ids"][::2, -1] = 0
    return inputs


class TorchNet(tnn.Module):
    """TextCNN: ids [B, L] -> logits [B, 2]."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.embed = tnn.Embedding(200, 6, padding_idx=0)
        self.convs = tnn.ModuleList(tnn.Conv1d(6, 4, kernel) for kernel in KERNELS)
        self.dropout = tnn.Dropout(0.5)
        self.out = tnn.Linear(12, 2)

    def forward(self, ids):
        x = self.embed(ids).transpose(1, 2)
        if self.fault == "detach":
            x = x.detach()
        x = torch.cat([tf.relu(conv(x)).max(dim=2).values for conv in self.convs], dim=1)
        return self.out(self.dropout(x))


class PaddleNet(pnn.Layer):
    """TextCNN: ids [B, L] -> logits [B, 2]."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.embed = pnn.Embedding(200, 6, padding_idx=None if fault == "padding_idx" else 0)
        settings = {"padding": {"padding": 1}, "dilation": {"dilation": 2}, "stride": {"stride": 2}}.get(fault, {})
        self.convs = pnn.LayerList(
            [pnn.Conv1D(6, 4, kernel, **(settings if i == 1 else {})) for i, kernel in enumerate(KERNELS)]
        )
        self.dropout = pnn.Dropout(0.5)
        self.out = pnn.Linear(12, 2)
        if fault == "frozen":
            self.embed.weight.stop_gradient = True

    def forward(self, ids):
        x = self.embed(ids).transpose([0, 2, 1])
        convs = list(self.convs)
        if self.fault == "order":
            convs = [convs[1], convs[0], convs[2]]
        found = [conv(x) for conv in convs]
        if self.fault == "activation":
            found = [pnn.functional.gelu(own) for own in found]
        elif self.fault != "no_activation":
            found = [pnn.functional.relu(own) for own in found]
        found = [own.mean(axis=2) if self.fault == "mean" else own.max(axis=2) for own in found]
        if self.fault == "concat":
            found = found[::-1]
        return self.out(self.dropout(paddle.concat(found, axis=1)))


class PaddleModules(pnn.Layer):
    """The same network in modules: convolution, ReLU and pooling in branches; the equal kernels defined last first."""

    def __init__(self, fault=""):
        super().__init__()
        self.narrow = self.branch(2)
        self.second = self.branch(3)
        self.first = self.branch(3)
        self.head = pnn.Sequential(pnn.Dropout(0.5), pnn.Linear(12, 2))
        self.words = pnn.Embedding(200, 6, padding_idx=0)

    def branch(self, kernel):
        return pnn.Sequential(pnn.Conv1D(6, 4, kernel), pnn.ReLU(), pnn.AdaptiveMaxPool1D(1), pnn.Flatten())

    def forward(self, ids):
        x = paddle.transpose(self.words(ids), perm=[0, 2, 1])
        return self.head(paddle.concat([branch(x) for branch in (self.first, self.second, self.narrow)], axis=1))


class TorchWeightNorm(TorchNet):
    """The same network, its linear layer with weight norm."""

    def __init__(self, fault=""):
        super().__init__(fault)
        self.out = tnn.utils.parametrizations.weight_norm(self.out, dim=0)


class PaddleWeightNorm(PaddleNet):
    """The same network, its linear layer with weight norm."""

    def __init__(self, fault=""):
        super().__init__(fault)
        self.out = pnn.utils.weight_norm(self.out, dim=1)
