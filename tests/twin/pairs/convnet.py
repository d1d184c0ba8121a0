"""A small image network with batch normalization, pooling and upsampling, once in each framework."""

import paddle
import torch
from paddle import nn as pnn
from torch import nn as tnn
from torch.nn import functional as tf

CLASSES = ("TorchNet", "PaddleNet")
INPUTS = ("image=float[3,2,9,9]",)


class TorchNet(tnn.Module):
    """image [B, 2, 9, 9] -> logits [B, 3]."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.conv1 = tnn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.bn1 = tnn.BatchNorm2d(4)
        self.pool = tnn.MaxPool2d(2)
        self.conv2 = tnn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.bn2 = tnn.BatchNorm2d(4)
        self.act = tnn.LeakyReLU(0.1)
        self.up = tnn.Upsample(scale_factor=2, mode="bilinear")
        self.average = tnn.AvgPool2d(3, stride=2, padding=1)
        self.fc = tnn.Linear(64, 3)

    def forward(self, image):
        x = self.pool(tf.relu(self.bn1(self.conv1(image))))
        x = self.act(self.bn2(self.conv2(x)))
        x = self.average(self.up(x))
        return self.fc(torch.flatten(x, 1))


class PaddleNet(pnn.Layer):
    """image [B, 2, 9, 9] -> logits [B, 3]."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.conv1 = pnn.Conv2D(2, 4, 3, padding=1, bias_attr=False)
        self.bn1 = pnn.BatchNorm2D(
            4,
            momentum=0.1 if fault == "momentum" else 0.9,
            epsilon=1e-3 if fault == "epsilon" else 1e-5,
            use_global_stats=True if fault == "global_statistics" else None,
        )
        self.pool = pnn.MaxPool2D(2, ceil_mode=fault == "ceil_mode")
        self.conv2 = pnn.Conv2D(
            4, 4, 3, padding=1, groups=2, padding_mode="replicate" if fault == "padding_mode" else "zeros"
        )
        self.bn2 = pnn.BatchNorm2D(4)
        self.act = pnn.LeakyReLU() if fault == "slope" else pnn.LeakyReLU(0.1)
        self.up = pnn.Upsample(scale_factor=2, mode="bilinear", align_corners=fault == "align_corners")
        # Paddle leaves padding out of averages by default, PyTorch counts it.
        self.average = pnn.AvgPool2D(3, stride=2, padding=1, exclusive=fault == "count_padding")
        self.fc = pnn.Linear(64, 3)

    def train(self):
        super().train()
        if self.fault == "evaluation":
            self.bn2.eval()
        return self

    def forward(self, image):
        x = self.bn1(self.conv1(image))
        x = self.pool(x if self.fault == "no_activation" else pnn.functional.relu(x))
        x = self.act(self.bn2(self.conv2(x)))
        x = self.average(self.up(x))
        if self.fault == "channels_last":
            x = x.transpose([0, 2, 3, 1])
        return self.fc(paddle.flatten(x, 1)[:, :64])


class PaddleSequential(pnn.Layer):
    """The same network in sequences; the activations are modules."""

    def __init__(self, fault=""):
        super().__init__()
        self.features = pnn.Sequential(
            *(pnn.Conv2D(2, 4, 3, padding=1, bias_attr=False), pnn.BatchNorm2D(4), pnn.ReLU(), pnn.MaxPool2D(2)),
            *(pnn.Conv2D(4, 4, 3, padding=1, groups=2), pnn.BatchNorm2D(4), pnn.LeakyReLU(0.1)),
        )
        self.head = pnn.Sequential(pnn.Flatten(), pnn.Linear(64, 3))

    def forward(self, image):
        x = pnn.functional.interpolate(self.features(image), scale_factor=2, mode="bilinear")
        return self.head(pnn.functional.avg_pool2d(x, 3, stride=2, padding=1, exclusive=False))
