"""Measurements of losses."""

from __future__ import annotations

import math

import numpy as np

from backends.paddle.framework import paddle
from backends.torch.framework import torch
from tools.differences import difference

SECTION = "Loss"
HEADS = "`losses` ([torch](../backends/torch/heads/pooled.py), [paddle](../backends/paddle/heads/pooled.py))"
torch_entropy, paddle_entropy = torch.nn.functional.cross_entropy, paddle.nn.functional.cross_entropy


def logits_and_labels():
    """Return float64 logits [8, 3] and labels [8]."""
    rng = np.random.default_rng(0)
    return rng.normal(0.0, 2.0, (8, 3)), rng.integers(0, 3, 8)


@difference(
    SECTION,
    "The mean loss with ignored labels",
    torch="`cross_entropy(ignore_index=-100)` divides by the number of labels that are not ignored.",
    paddle="Divides by that number only if `ignore_index` is 0 or greater; if it is negative, as the default -100, by"
    " the number of all labels.",
    effect="Half of 8 labels ignored: Paddle's mean is {negative:.2f} of PyTorch's with -100, and {positive:.2f} with"
    " an index of 2.",
    ours=f"Every sequence has a label; none is ignored. {HEADS}.",
    size="loss and gradients {negative:.1f} of PyTorch's when half the labels are -100",
    older="Divides by the number of labels that are not ignored, as PyTorch ({negative:.2f} of its mean with -100).",
    claim=lambda f: abs(f["negative"] - 0.5) < 1e-6 and abs(f["positive"] - 1) < 1e-6,
)
def ignored_labels():
    """Compare the mean cross-entropy with half of the labels ignored, by -100 and by a nonnegative index."""
    logits, labels = logits_and_labels()
    found = {}
    for name, ignored in (("negative", -100), ("positive", 2)):
        half = np.where(np.arange(8) % 2 == 0, labels % 2, ignored)
        one = torch_entropy(torch.tensor(logits), torch.tensor(half), ignore_index=ignored).item()
        other = paddle_entropy(paddle.to_tensor(logits), paddle.to_tensor(half), ignore_index=ignored).item()
        found[name] = other / one
    return found


@difference(
    SECTION,
    "Very confident misclassifications",
    torch="`log_softmax` and `cross_entropy` have no lower limit for log-probabilities.",
    paddle="Both have a lower limit of -64, in float64 too: the loss of a text cannot exceed 64, but its gradient is"
    " not limited.",
    effect="Log-probability of the first of the logits 0, 100, 50, which is -100: PyTorch {torch:.0f}, Paddle"
    " {paddle:.0f}; cross-entropy {torch_entropy:.0f} against {paddle_entropy:.0f}.",
    ours="An explicit formula for the logarithm of the softmax in Paddle: `losses` in"
    " [backends/paddle/heads/pooled.py](../backends/paddle/heads/pooled.py).",
    size="a loss of {torch_entropy:.0f} is reported as {paddle_entropy:.0f}",
    claim=lambda f: f["torch"] == -100 and f["paddle"] == -64 and f["paddle_entropy"] == 64 != f["torch_entropy"],
)
def log_softmax_floor():
    """Compare losses for float64 logits that differ by 100."""
    logits, label = np.array([[0.0, 100.0, 50.0]]), np.array([0])
    one, other = torch.tensor(logits), paddle.to_tensor(logits)
    return {
        "torch": torch.nn.functional.log_softmax(one, dim=1)[0, 0].item(),
        "paddle": paddle.nn.functional.log_softmax(other, axis=1)[0, 0].item(),
        "torch_entropy": torch_entropy(one, torch.tensor(label)).item(),
        "paddle_entropy": paddle_entropy(other, paddle.to_tensor(label)).item(),
    }


@difference(
    SECTION,
    "The softmax of masked scores",
    torch="`softmax` and `exp` of minus infinity are exactly 0.",
    paddle="On the CPU, `softmax` has the lower limit of `log_softmax`, -64. `exp` of minus infinity is a denormal"
    " number in a tensor of several numbers.",
    effect="Weight of a score of minus infinity beside one of 0, in float64: PyTorch {torch:g}, Paddle {paddle:.1e};"
    " `exp` of it in a tensor of 8: PyTorch {torch_exp:g}, Paddle {paddle_exp:.1e}.",
    ours="Attention multiplies by the mask after `exp`, so that padding has the weight 0: `Attention` in"
    " [backends/paddle/heads/pooled.py](../backends/paddle/heads/pooled.py).",
    size="a masked token gets an attention weight of {paddle:.1e}",
    claim=lambda f: f["torch"] == 0 == f["torch_exp"] and 0 < f["paddle"] < 1e-27 and 0 <= f["paddle_exp"] < 1e-300,
)
def softmax_floor():
    """Compare softmax and exp of minus infinity in float64."""
    scores, row = np.array([[0.0, -np.inf]]), np.full(8, -np.inf)
    return {
        "torch": torch.softmax(torch.tensor(scores), dim=1)[0, 1].item(),
        "paddle": paddle.nn.functional.softmax(paddle.to_tensor(scores), axis=1)[0, 1].item(),
        "torch_exp": torch.exp(torch.tensor(row)).max().item(),
        "paddle_exp": paddle.exp(paddle.to_tensor(row)).max().item(),
    }


def smoothed(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None, amount: float) -> float:
    """Compute label smoothing: targets (1 - a) one-hot + a / C, and class weights as in PyTorch."""
    targets = (1 - amount) * np.eye(3)[labels] + amount / 3
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    weights = np.ones(3) if weights is None else weights
    return float(-(targets * logs * weights).sum() / weights[labels].sum())


@difference(
    SECTION,
    "Label smoothing",
    torch="Uses the precision of the logits. With class weights, each class's term has its weight.",
    paddle="Rounds to float32 in float64, too. With class weights, it computes a different mean.",
    effect="Float64 logits, smoothing 0.1, difference from the formula: PyTorch {torch:e}, Paddle {paddle:e}. With"
    " class weights 1, 2, 3: PyTorch {torch_weighted:.4f}, Paddle {paddle_weighted:.4f}.",
    ours="The spec has no label smoothing. Class weights multiply each text's loss, and the mean is over texts, whereas"
    f" both frameworks divide by the sum of the weights. {HEADS}.",
    size="float64: off by {paddle:e}; with class weights {paddle_weighted:.3f} instead of {torch_weighted:.3f}",
    claim=lambda f: f["torch"] < 1e-14 < f["paddle"] and abs(f["torch_weighted"] - f["paddle_weighted"]) > 1e-3,
)
def label_smoothing():
    """Compare float64 cross-entropy with label smoothing, with and without class weights."""
    logits, labels = logits_and_labels()
    weights = np.array([1.0, 2.0, 3.0])
    found = {}
    for name, weight in (("", None), ("_weighted", weights)):
        given = {} if weight is None else {"weight": torch.tensor(weight)}
        one = torch_entropy(torch.tensor(logits), torch.tensor(labels), label_smoothing=0.1, **given).item()
        wanted = smoothed(logits, labels, weight, 0.1)
        found[f"torch{name}"] = one if name else abs(one - wanted)
        given = {} if weight is None else {"weight": paddle.to_tensor(weight)}
        other = paddle_entropy(paddle.to_tensor(logits), paddle.to_tensor(labels), label_smoothing=0.1, **given).item()
        found[f"paddle{name}"] = other if name else abs(other - wanted)
    return found


@difference(
    SECTION,
    "Binary cross-entropy: the gradient at a logit of 0",
    torch="The gradient is sigmoid(z) - y at every logit z.",
    paddle="At a logit of exactly 0, the gradient of `binary_cross_entropy_with_logits` is too small by 1, in float32"
    " and float64. The loss itself is correct.",
    effect="Gradient at logit 0: {torch_0:.1f} (label 0) and {torch_1:.1f} (label 1) in PyTorch, {paddle_0:.1f} and"
    " {paddle_1:.1f} in Paddle; the same in float64: {double}. Paddle's are {near_0:.1f} and {near_1:.1f} at a"
    " logit of 1e-30, and {weighted_0:.1f} and {weighted_1:.1f} at 0 with `pos_weight=1`. An output layer that starts"
    " at zero gives a logit of 0 for every text: in a batch with equally many of both labels, its bias has the gradient"
    " {torch_bias:.1f} in PyTorch and {paddle_bias:.1f} in Paddle.",
    ours="A single logit z is computed as the two-class cross-entropy of the logits 0 and z: `losses` in"
    " [backends/paddle/heads/pooled.py](../backends/paddle/heads/pooled.py).",
    size="label 0: {torch_0:.1f} against {paddle_0:.1f}",
    older="The gradient is correct: {paddle_0:.1f} and {paddle_1:.1f}. With `pos_weight=1` it is {weighted_0:.1f} and"
    " {weighted_1:.1f}.",
    claim=lambda f: (
        (f["torch_0"], f["torch_1"], f["torch_bias"]) == (0.5, -0.5, 0)
        and (f["paddle_0"], f["paddle_1"], f["paddle_bias"]) == (-0.5, -1.5, -1)
        and (f["near_0"], f["near_1"], f["weighted_0"], f["weighted_1"]) == (0.5, -0.5, 0.5, -0.5)
        and f["double"] == "yes"
    ),
)
def zero_logit():
    """Compute gradients of the binary cross-entropy at logit 0 and near it, and those of an output layer of zeros."""
    labels = [0.0, 1.0]

    def gradients(logit: float, dtype: str = "float32", **given) -> list[float]:
        z = paddle.to_tensor([logit, logit], dtype=dtype, stop_gradient=False)
        targets = paddle.to_tensor(labels, dtype=dtype)
        paddle.nn.functional.binary_cross_entropy_with_logits(z, targets, reduction="sum", **given).backward()
        return z.grad.tolist()

    z = torch.zeros(2, requires_grad=True)
    torch.nn.functional.binary_cross_entropy_with_logits(z, torch.tensor(labels), reduction="sum").backward()
    rows = {
        "torch": z.grad.tolist(),
        "paddle": gradients(0.0),
        "near": gradients(1e-30),
        "weighted": gradients(0.0, pos_weight=paddle.ones([2])),
    }
    one, other = torch.nn.Linear(4, 1), paddle.nn.Linear(4, 1)
    torch.nn.init.zeros_(one.weight), torch.nn.init.zeros_(one.bias)
    other.weight.set_value(paddle.zeros([4, 1]))  # its bias starts at zero
    torch.nn.functional.binary_cross_entropy_with_logits(one(torch.ones(2, 4))[:, 0], torch.tensor(labels)).backward()
    logits = other(paddle.ones([2, 4]))[:, 0]
    paddle.nn.functional.binary_cross_entropy_with_logits(logits, paddle.to_tensor(labels)).backward()
    return {
        **{f"{name}_{label}": row[label] for name, row in rows.items() for label in (0, 1)},
        "double": "yes" if gradients(0.0, "float64") == rows["paddle"] else "no",
        "torch_bias": one.bias.grad.item(),
        "paddle_bias": other.bias.grad.item(),
    }


@difference(
    SECTION,
    "log_sigmoid of large scores",
    torch="`logsigmoid(x)` is computed with log1p, and keeps its relative accuracy for any x.",
    paddle="`log_sigmoid(x)` takes the logarithm of 1 + exp(-x): the result is rounded to 0 for x above 16.6 in float32"
    " (36.7 in float64). The gradient is correct.",
    effect="In float32 at x = 10, PyTorch's value has a relative error of {torch_10:.0e}, Paddle's of {paddle_10:.0e};"
    " at x = 17, PyTorch's {torch_17:.0e}, and Paddle's value is {value_17:.1f}. In float64 at x = 40, Paddle's value"
    " is {value_40:.1f}. The relative error of the gradient at x = 17 is {slope_torch:.0e} in PyTorch and"
    " {slope_paddle:.0e} in Paddle.",
    ours="word2vec's loss uses it, as training depends on the gradient alone; only the reported loss of a prediction"
    " that is nearly certain is less accurate: `loss` in [backends/paddle/words.py](../backends/paddle/words.py).",
    size="{value_17:.1f} in Paddle for 4e-8, float32",
    claim=lambda f: (
        f["torch_10"] < 1e-6
        and f["torch_17"] < 1e-6
        and 1e-5 < f["paddle_10"] < 1e-2
        and (f["value_17"], f["value_40"]) == (0, 0)
        and max(f["slope_torch"], f["slope_paddle"]) < 1e-6
    ),
)
def log_sigmoid():
    """Compute values and gradients at 10, 17 and 40, and their errors relative to float64 with log1p."""

    def torch_values(x: float) -> tuple[float, float]:
        z = torch.tensor(x, requires_grad=True)
        value = torch.nn.functional.logsigmoid(z)
        value.backward()
        return value.item(), z.grad.item()

    def paddle_values(x: float, dtype: str = "float32") -> tuple[float, float]:
        z = paddle.to_tensor([x], dtype=dtype, stop_gradient=False)
        value = paddle.nn.functional.log_sigmoid(z)
        value.sum().backward()
        return float(value.numpy()[0]), float(z.grad.numpy()[0])

    def relative(found: float, x: float) -> float:
        return float(abs(found / -np.log1p(np.exp(-x)) - 1.0))

    slope = 1.0 / (1.0 + math.exp(17.0))
    return {
        "torch_10": relative(torch_values(10.0)[0], 10.0),
        "torch_17": relative(torch_values(17.0)[0], 17.0),
        "paddle_10": relative(paddle_values(10.0)[0], 10.0),
        "value_17": abs(paddle_values(17.0)[0]),
        "value_40": abs(paddle_values(40.0, "float64")[0]),
        "slope_torch": abs(torch_values(17.0)[1] / slope - 1.0),
        "slope_paddle": abs(paddle_values(17.0)[1] / slope - 1.0),
    }


@difference(
    SECTION,
    "Smooth L1",
    torch="`smooth_l1_loss(beta)`: e^2 / (2 beta), then e - beta / 2.",
    paddle="`smooth_l1_loss(delta)` is PyTorch's `huber_loss`: delta times its `smooth_l1_loss`.",
    effect="With 0.25 in both, Paddle's loss is {smooth:.2f} times PyTorch's `smooth_l1_loss`, and {huber:.2f} times"
    " its `huber_loss`. With the default of 1, all are equal.",
    ours="Not in the spec.",
    size="{smooth:.2f} of PyTorch's with 0.25",
    claim=lambda f: abs(f["smooth"] - 0.25) < 1e-5 and abs(f["huber"] - 1) < 1e-5,
)
def smooth_l1():
    """Compare losses with the same `beta` and `delta`."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 64)).astype(np.float32)
    other = paddle.nn.functional.smooth_l1_loss(paddle.to_tensor(x), paddle.to_tensor(y), delta=0.25).item()
    smooth = torch.nn.functional.smooth_l1_loss(torch.tensor(x), torch.tensor(y), beta=0.25).item()
    huber = torch.nn.functional.huber_loss(torch.tensor(x), torch.tensor(y), delta=0.25).item()
    return {"smooth": other / smooth, "huber": other / huber}
