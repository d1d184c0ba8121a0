"""Clipping of gradients."""

from __future__ import annotations

import numpy as np

from backends.paddle.framework import paddle
from backends.torch.framework import torch
from tools.differences import difference
from tools.differences.optimiser import OPTIMIZERS
from tools.differences.small import PaddleNet, TorchNet, apart, batches, start, train_paddle, train_torch

SECTION = "Clipping"
LIMIT = 0.05
"""Below the gradients' norm in nearly every step of these runs."""


def exact_clip(parameters) -> None:
    """PyTorch's gradients by the formula without an epsilon."""
    total = torch.sqrt(sum(p.grad.square().sum() for p in parameters))
    for p in parameters:
        p.grad.mul_((LIMIT / total).clamp(max=1.0))


@difference(
    SECTION,
    "By the norm of all gradients",
    torch="`clip_grad_norm_` multiplies by min(1, c / (norm + 1e-6)).",
    paddle="`ClipGradByGlobalNorm` multiplies by c / max(norm, c).",
    effect="200 float64 steps with c = 0.05. SGD: losses up to {sgd:e} apart, with one formula {sgd_same:e}. Adam:"
    " {adam:e}, with one formula {adam_same:e}.",
    ours=f"min(1, c / norm), nothing added: `clip` in {OPTIMIZERS}.",
    size="loss off by {adam:e} in 200 float64 steps of Adam",
    claim=lambda f: f["sgd"] > 1e-8 and f["adam"] > 1e-8 and max(f["sgd_same"], f["adam_same"]) < 1e-11,
)
def clip_global_norm():
    """Clipping by the helper of each framework, and by one formula."""

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
    torch="`clip_grad_norm_` takes all gradients as one vector.",
    paddle="`ClipGradByNorm`, which textbooks use, clips each tensor alone, and on the CPU in float32 only;"
    " `ClipGradByGlobalNorm` takes all together.",
    effect="200 float32 steps of SGD in Paddle with c = 0.05: the losses of the two are up to {apart:.2g} apart. In the"
    " first step the clipped gradients' total norm is {tensor:.3f} per tensor and {together:.3f} together. In float64"
    " `ClipGradByNorm` ends in: {float64}.",
    ours=f"The spec says which: `clip_mode` `tensor` or `global`; `clip` in {OPTIMIZERS}.",
    size="loss up to {apart:.1g} apart in 200 steps",
    claim=lambda f: (
        f["apart"] > 1e-2
        and f["tensor"] > f["together"]
        and abs(f["together"] - LIMIT) < 1e-5
        and f["float64"] == "RuntimeError"
    ),
)
def clip_per_tensor():
    """The two clips of Paddle, over training and in the first step."""
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
    "Where the clipped gradient is",
    torch="`clip_grad_norm_` is called before the step, changes `p.grad` and returns the norm before.",
    paddle="`grad_clip` is an argument of the optimiser, which clips inside `step()` and tells no norm. Whether"
    " `p.grad` is changed depends on the version.",
    effect="Norm of all `p.grad` before clipping {before:.3f}; when the step is done, c = 0.05: {torch:.3f} in PyTorch,"
    " {paddle:.3f} in Paddle.",
    older="`p.grad` is left as it was: {paddle:.3f} when the step is done. A norm logged there is not clipped.",
    ours=f"`clip` returns the norm before clipping, and this is what is logged, on both sides: {OPTIMIZERS}.",
    size="`p.grad` after a step: clipped in Paddle 3, not in 2.6",
    claim=lambda f: f["before"] > 2 * LIMIT and max(abs(f["torch"] - LIMIT), abs(f["paddle"] - LIMIT)) < 1e-4,
)
def clip_in_place():
    """Norm of the gradients after a step with clipping."""

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
