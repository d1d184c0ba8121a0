"""Measurements of gradient clipping."""

from __future__ import annotations

import numpy as np

from backends.paddle.framework import paddle
from backends.torch.framework import torch
from tools.differences import difference
from tools.differences.optimizer import OPTIMIZERS
from tools.differences.small import PaddleNet, TorchNet, apart, batches, start, train_paddle, train_torch

SECTION = "Clipping"
LIMIT = 0.05
"""Clipping limit, below the norm of the gradients in nearly every step."""


def exact_clip(parameters) -> None:
    """Clip PyTorch's gradients by the formula without epsilon."""
    total = torch.sqrt(sum(p.grad.square().sum() for p in parameters))
    for p in parameters:
        p.grad.mul_((LIMIT / total).clamp(max=1.0))


@difference(
    SECTION,
    "Clipping by the global norm",
    torch="`clip_grad_norm_` multiplies by min(1, c / (norm + 1e-6)).",
    paddle="`ClipGradByGlobalNorm` multiplies by c / max(norm, c).",
    effect="200 float64 steps with c = 0.05. SGD: losses differ by up to {sgd:e}, with the same formula by"
    " {sgd_same:e}. Adam: {adam:e}, with the same formula {adam_same:e}.",
    ours=f"min(1, c / norm), without epsilon: `clip` in {OPTIMIZERS}.",
    size="loss off by {adam:e} in 200 float64 steps of Adam",
    claim=lambda f: f["sgd"] > 1e-8 and f["adam"] > 1e-8 and max(f["sgd_same"], f["adam_same"]) < 1e-11,
)
def clip_global_norm():
    """Compare clipping by each framework's function, and by the same formula."""

    def torch_helper(parameters):
        torch.nn.utils.clip_grad_norm_(parameters, LIMIT)

    data, arrays = batches(200), start()
    kinds = {
        "sgd": (torch.optim.SGD, paddle.optimizer.SGD, 1.0),
        "adam": (torch.optim.Adam, paddle.optimizer.Adam, 0.003),
    }
    found = {}
    for name, (make_torch, make_paddle, rate) in kinds.items():
        net = PaddleNet(arrays=arrays)
        clip = paddle.nn.ClipGradByGlobalNorm(LIMIT)
        optimizer = make_paddle(rate, parameters=list(net.named().values()), grad_clip=clip)
        wanted = train_paddle(net, optimizer, data)
        for kind, clip in ((name, torch_helper), (f"{name}_same", exact_clip)):
            net = TorchNet(arrays=arrays)
            found[kind] = apart(wanted, train_torch(net, make_torch(net.parameters(), lr=rate), data, clip))
    return found


@difference(
    SECTION,
    "`ClipGradByNorm` is not `ClipGradByGlobalNorm`",
    torch="`clip_grad_norm_` clips the global norm of all gradients.",
    paddle="`ClipGradByNorm`, which textbooks use, clips the norm of each tensor, and on the CPU only in float32;"
    " `ClipGradByGlobalNorm` clips the global norm.",
    effect="200 float32 steps of SGD in Paddle with c = 0.05: the losses of the two differ by up to {apart:.2g}. In the"
    " first step the global norm after clipping is {tensor:.3f} (per tensor) and {together:.3f} (global). In float64"
    " `ClipGradByNorm` raises: {float64}.",
    ours=f"The spec has `clip_mode` `tensor` or `global`: `clip` in {OPTIMIZERS}.",
    size="loss off by {apart:.1g} in 200 steps",
    claim=lambda f: (
        f["apart"] > 1e-2
        and f["tensor"] > f["together"]
        and abs(f["together"] - LIMIT) < 1e-5
        and f["float64"] == "RuntimeError"
    ),
)
def clip_per_tensor():
    """Compare Paddle's two clipping classes over a training, and in the first step."""
    data, curves, found = batches(200), {}, {}
    kinds = {"tensor": paddle.nn.ClipGradByNorm(LIMIT), "together": paddle.nn.ClipGradByGlobalNorm(LIMIT)}

    def made(clip, dtype):
        net = PaddleNet(dtype, start())
        return net, paddle.optimizer.SGD(1.0, parameters=list(net.named().values()), grad_clip=clip)

    for name, clip in kinds.items():
        net, sgd = made(clip, "float32")
        before = [p.numpy().copy() for p in net.named().values()]
        curves[name] = train_paddle(net, sgd, data[:1])
        moved = [p.numpy() - q for p, q in zip(net.named().values(), before, strict=True)]
        found[name] = float(np.sqrt(sum((part**2).sum() for part in moved)))  # the rate is 1
        curves[name] += train_paddle(net, sgd, data[1:])
    try:
        train_paddle(*made(kinds["tensor"], "float64"), data[:1])
        found["float64"] = "no error"
    except RuntimeError as error:
        found["float64"] = type(error).__name__
    return {"apart": apart(*curves.values()), **found}


@difference(
    SECTION,
    "Whether clipping changes `p.grad`",
    torch="`clip_grad_norm_` is called before the step, changes `p.grad` and returns the norm before clipping.",
    paddle="`grad_clip` is an argument of the optimizer, which clips in `step()` and does not return the norm. Whether"
    " `p.grad` changes depends on the version.",
    effect="Norm of all `p.grad` before clipping: {before:.3f}. After the step with c = 0.05: {torch:.3f} in PyTorch,"
    " {paddle:.3f} in Paddle.",
    older="`p.grad` is unchanged: {paddle:.3f} after the step. A norm logged there is the norm before clipping.",
    ours=f"`clip` returns the norm before clipping, which both backends log: {OPTIMIZERS}.",
    size="`p.grad` after a step: clipped in Paddle 3, not in 2.6",
    claim=lambda f: f["before"] > 2 * LIMIT and max(abs(f["torch"] - LIMIT), abs(f["paddle"] - LIMIT)) < 1e-4,
)
def clip_in_place():
    """Compute the norm of the gradients after a step with clipping."""

    def norm(gradients):
        return float(np.sqrt(sum((gradient.numpy() ** 2).sum() for gradient in gradients)))

    (ids, labels), arrays = batches(1)[0], start()
    one, other = TorchNet(arrays=arrays), PaddleNet(arrays=arrays)
    one.loss(ids, labels).backward()
    torch.nn.utils.clip_grad_norm_(list(one.parameters()), LIMIT)
    torch.optim.SGD(one.parameters(), lr=0.1).step()
    parameters = list(other.named().values())
    other.loss(ids, labels).backward()
    before = norm(p.grad for p in parameters)
    paddle.optimizer.SGD(0.1, parameters=parameters, grad_clip=paddle.nn.ClipGradByGlobalNorm(LIMIT)).step()
    return {
        "before": before,
        "torch": norm(p.grad for p in one.parameters()),
        "paddle": norm(p.grad for p in parameters),
    }
