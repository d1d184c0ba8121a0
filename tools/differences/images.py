"""Measurements of layers for images: average pooling and resizing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from backends.paddle.framework import paddle
from backends.torch.framework import torch
from tools.differences import difference

SECTION = "Layers"
IMAGES = np.random.default_rng(0).normal(size=(2, 3, 9, 9))
"""Two images [B, C, H, W] in float64."""


def compared(one: Callable, other: Callable) -> tuple[float, float]:
    """Return the largest differences of the outputs and of the gradients, by a random weighted sum."""
    ours, theirs = torch.tensor(IMAGES, requires_grad=True), paddle.to_tensor(IMAGES)
    theirs.stop_gradient = False
    found, other_found = one(ours), other(theirs)
    weights = np.random.default_rng(1).normal(size=tuple(found.shape))
    (found * torch.tensor(weights)).sum().backward()
    (other_found * paddle.to_tensor(weights)).sum().backward()
    outputs = np.abs(found.detach().numpy() - other_found.numpy()).max()
    return float(outputs), float(np.abs(ours.grad.numpy() - theirs.grad.numpy()).max())


@difference(
    SECTION,
    "Average pooling: the gradient in float64",
    torch="The divisor has the precision of the tensor.",
    paddle="The backward pass on a CPU divides in float32, in float64 layers too.",
    effect="`avg_pool2d` with a kernel of 3 on images of 9 x 9, float64: the outputs differ by {output:e}, the"
    " gradients by {gradient:e}; with overlapping windows by {overlapping:e}, `adaptive_avg_pool2d` by {adaptive:e}.",
    ours="Mean pooling over tokens sums and divides ([core/models/heads/pooled.py](../core/models/heads/pooled.py));"
    " `tasks.twin` names such a layer.",
    size="float64 gradients differ by {overlapping:e}",
    claim=lambda f: f["output"] < 1e-14 and min(f["gradient"], f["overlapping"], f["adaptive"]) > 1e-10,
)
def average_pooling():
    """Average windows and their gradients."""
    one, other = torch.nn.functional, paddle.nn.functional
    output, gradient = compared(lambda x: one.avg_pool2d(x, 3), lambda x: other.avg_pool2d(x, 3))
    _, overlapping = compared(
        lambda x: one.avg_pool2d(x, 3, 2, 1, count_include_pad=False), lambda x: other.avg_pool2d(x, 3, 2, 1)
    )
    _, adaptive = compared(lambda x: one.adaptive_avg_pool2d(x, 4), lambda x: other.adaptive_avg_pool2d(x, 4))
    return {"output": output, "gradient": gradient, "overlapping": overlapping, "adaptive": adaptive}


@difference(
    SECTION,
    "Resizing: positions in float32",
    torch="Positions between pixels have the precision of the tensor.",
    paddle="Positions are computed in float32, in float64 layers too.",
    effect="`interpolate` from 9 x 9 to 14 x 13 in float64: {bilinear:e} with `bilinear`, {bicubic:e} with `bicubic`,"
    " {corners:e} with `bilinear` and `align_corners`. To 18 x 18, where all positions are exact: {double:e}.",
    ours="No layer of the spec resizes. `tasks.twin` names such a layer.",
    size="float64 results differ by {bilinear:e}",
    claim=lambda f: min(f["bilinear"], f["bicubic"], f["corners"]) > 1e-8 and f["double"] < 1e-14,
)
def resizing():
    """Resize images by both frameworks."""

    def apart(size: tuple[int, int], mode: str, corners: bool) -> float:
        how = {"mode": mode, "align_corners": corners}
        return compared(
            lambda x: torch.nn.functional.interpolate(x, size=size, **how),
            lambda x: paddle.nn.functional.interpolate(x, size=list(size), **how),
        )[0]

    return {
        "bilinear": apart((14, 13), "bilinear", False),
        "bicubic": apart((14, 13), "bicubic", False),
        "corners": apart((14, 13), "bilinear", True),
        "double": apart((18, 18), "bilinear", False),
    }
