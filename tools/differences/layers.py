"""Measurements of layers."""

from __future__ import annotations

import warnings

import numpy as np

from backends.paddle.framework import paddle
from backends.torch.framework import torch
from tools.differences import difference
from tools.differences.small import apart, paddle_dtype

SECTION = "Layers"
LAYERS = (
    "[torch](../backends/torch/encoders/recurrent_layers.py), [paddle](../backends/paddle/encoders/recurrent_layers.py)"
)


def copied(one, other) -> None:
    """Copy the parameters of PyTorch's recurrent layer to Paddle's: names and layout are equal."""
    for name, parameter in one.named_parameters():
        getattr(other, name).set_value(parameter.detach().numpy())


@difference(
    SECTION,
    "The batch axis of recurrent layers",
    torch="Recurrent layers read `[time, batch, features]` unless `batch_first=True`.",
    paddle="Recurrent layers read `[batch, time, features]` unless `time_major=True`.",
    effect="An LSTM with the same weights on the same array of 8 sequences of 8 steps: no error, and a relative error"
    " of the outputs of {wrong:.0%}. With `batch_first=True` it is {right:e}.",
    ours=f"Batch first on both sides: `builtin_layer` ({LAYERS}).",
    size="outputs off by {wrong:.0%} if both axes are equally long",
    claim=lambda f: f["wrong"] > 0.1 and f["right"] < 1e-5,
)
def batch_axis():
    """Run an LSTM with each framework's default axes, on an array whose first two axes are equally long."""
    torch.manual_seed(0)
    one, other = torch.nn.LSTM(16, 16), paddle.nn.LSTM(16, 16)
    copied(one, other)
    x = torch.randn(8, 8, 16)
    wanted = other(paddle.to_tensor(x.numpy()))[0].numpy()
    found = {}
    for name, batch_first in (("wrong", False), ("right", True)):
        one.batch_first = batch_first
        error = one(x)[0].detach().numpy() - wanted
        found[name] = float(np.linalg.norm(error) / np.linalg.norm(wanted))
    return found


@difference(
    SECTION,
    "Dropout: two meanings of `mode` in Paddle",
    torch="`dropout` scales the kept units by 1 / (1 - p) in training and does nothing in evaluation.",
    paddle="The same by default (`upscale_in_train`). `downscale_in_infer`, common in older programs and books, does"
    " not scale in training and multiplies by 1 - p in evaluation.",
    effect="Mean of ones after dropout of 0.5, in training and in evaluation: PyTorch {torch_train:.2f} and"
    " {torch_eval:.2f}; Paddle {paddle_train:.2f} and {paddle_eval:.2f}; with `downscale_in_infer` {down_train:.2f} and"
    " {down_eval:.2f}.",
    ours="Scaled in training, with the same dropped units in both: `training_dropout`"
    " ([torch](../backends/torch/dropout.py), [paddle](../backends/paddle/dropout.py)).",
    size="`downscale_in_infer`: activations {down_eval:.1f} of PyTorch's",
    claim=lambda f: f["paddle_eval"] == f["torch_eval"] == 1 and abs(f["down_eval"] - 0.5) < 1e-6,
)
def dropout_mode():
    """Compute the mean of ones after dropout, in training and in evaluation."""
    torch.manual_seed(0), paddle.seed(0)
    functional, found = paddle.nn.functional, {}
    for name, training in (("train", True), ("eval", False)):
        ones = paddle.ones([1000, 100])  # Paddle does not support `downscale_in_infer` in one dimension
        found[f"torch_{name}"] = torch.nn.functional.dropout(torch.ones(100000), 0.5, training=training).mean().item()
        found[f"paddle_{name}"] = functional.dropout(ones, p=0.5, training=training).mean().item()
        down = functional.dropout(ones, p=0.5, training=training, mode="downscale_in_infer")
        found[f"down_{name}"] = down.mean().item()
    return found


@difference(
    SECTION,
    "A GRU with a closed reset gate",
    torch="The gradient of a saturated GRU is small but finite.",
    paddle="On the CPU the backward pass divides by the reset gate: if that is 0 in float32, gradients are NaN.",
    effect="Three steps of a GRU with the reset gate's bias at -60 and at -90, sum of its absolute gradients: PyTorch"
    " {torch_60} and {torch_90}, Paddle {paddle_60} and {paddle_90}; in float64 at -90 {torch_double} and"
    " {paddle_double}.",
    ours="Not corrected: the built-in layer is used. Trained gates do not reach such values, and a run stops if its"
    " loss is NaN ([core/train/loop.py](../core/train/loop.py)).",
    size="float32 gradients are {paddle_90} when the gate is at exp(-90)",
    claim=lambda f: f["paddle_90"] == "nan" != f["torch_90"] and f["paddle_60"] == f["torch_60"],
)
def gru_reset_shut():
    """Sum the gradients of the same GRU in both, with a reset gate of exp(-60) and exp(-90)."""

    def total(layer, x) -> str:
        output = layer(x)[0].sum()
        output.backward()
        gradients = (parameter.grad.numpy() for parameter in layer.parameters())
        return f"{sum(np.abs(gradient).sum() for gradient in gradients):.3f}"

    found = {}
    for name, bias, dtype in (("60", -60.0, "float32"), ("90", -90.0, "float32"), ("double", -90.0, "float64")):
        torch.manual_seed(0)
        one = torch.nn.GRU(2, 2, batch_first=True, dtype=getattr(torch, dtype))
        with torch.no_grad():
            one.bias_ih_l0[:2] = bias
        with paddle_dtype(dtype):
            other = paddle.nn.GRU(2, 2)
        copied(one, other)
        x = np.ones((1, 3, 2), dtype)
        found[f"torch_{name}"] = total(one, torch.tensor(x))
        found[f"paddle_{name}"] = total(other, paddle.to_tensor(x))
    return found


@difference(
    SECTION,
    "BatchNorm: opposite definitions of momentum, and a biased running variance",
    torch="running = 0.9 running + 0.1 batch is `momentum=0.1`; the variance of the batch divides by n - 1.",
    paddle="The same update is `momentum=0.9`; the variance of the batch divides by n.",
    effect="One batch of 8 rows. With default settings, running means agree to {mean:e}; with PyTorch's `momentum=0.1`"
    " in Paddle the running mean moves {typed:.0f} times too far. The variance of the batch in the running variance is"
    " {variance:.3f} times PyTorch's (7/8 = 0.875).",
    ours="The spec has no batch normalization.",
    size="`momentum=0.1` in Paddle: running mean moves {typed:.0f} times too far",
    claim=lambda f: f["mean"] < 1e-6 and abs(f["typed"] - 9) < 1e-3 and abs(f["variance"] - 0.875) < 1e-3,
)
def batch_norm():
    """Compare running statistics after one batch of 8 rows."""
    x = np.random.default_rng(0).normal(3.0, 2.0, (8, 4)).astype(np.float32)
    one, other, typed = torch.nn.BatchNorm1d(4), paddle.nn.BatchNorm1D(4), paddle.nn.BatchNorm1D(4, momentum=0.1)
    one(torch.tensor(x))
    for layer in (other, typed):
        layer(paddle.to_tensor(x))
    mixed_in = (other._variance.numpy() - 0.9) / (one.running_var.numpy() - 0.9)  # both start at 1
    return {
        "mean": apart(one.running_mean.numpy(), other._mean.numpy()),
        "typed": float((typed._mean.numpy() / one.running_mean.numpy()).mean()),
        "variance": float(mixed_in.mean()),
    }


@difference(
    SECTION,
    "Softmax without an axis",
    torch="`F.softmax(x)` warns and uses axis 0 for one or three dimensions, 1 otherwise.",
    paddle="`F.softmax(x)` uses the last axis.",
    effect="On an array `[2, 2, 2]` the results differ by up to {apart:.2f}; on a matrix by {matrix:e}.",
    ours="The axis is always given ([backends/torch/heads/pooled.py](../backends/torch/heads/pooled.py)).",
    size="probabilities differ by {apart:.2f} on three dimensions",
    claim=lambda f: f["apart"] > 0.5 and f["matrix"] < 1e-6,
)
def softmax_axis():
    """Compare softmax over the default axis."""
    x = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one, matrix = (torch.nn.functional.softmax(torch.tensor(part)).numpy() for part in (x, x[0]))
    other, other_matrix = (paddle.nn.functional.softmax(paddle.to_tensor(part)).numpy() for part in (x, x[0]))
    return {"apart": apart(one, other), "matrix": apart(matrix, other_matrix)}


@difference(
    SECTION,
    "ReLU of NaN",
    torch="`relu(nan)` is NaN: the error remains visible.",
    paddle="`relu(nan)` is 0 on the CPU: the NaN disappears, and the loss may stay finite.",
    effect="`relu(nan)`: PyTorch {torch}, Paddle {paddle}. `argmax` of [1, nan, 2]: position {torch_argmax} (the NaN)"
    " against {paddle_argmax}.",
    ours="A run stops if its loss is not finite ([core/train/loop.py](../core/train/loop.py)); this cannot detect a NaN"
    " that a ReLU has removed in Paddle.",
    size="`relu(nan)` = {paddle}: Paddle hides a NaN",
    claim=lambda f: f["torch"] == "nan" and f["paddle"] == "0.0" and f["torch_argmax"] != f["paddle_argmax"],
)
def relu_of_nan():
    """Apply ReLU and argmax to a NaN."""
    nan = float("nan")
    return {
        "torch": str(torch.relu(torch.tensor([nan])).item()),
        "paddle": str(paddle.nn.functional.relu(paddle.to_tensor([nan])).item()),
        "torch_argmax": torch.tensor([1.0, nan, 2.0]).argmax().item(),
        "paddle_argmax": paddle.to_tensor([1.0, nan, 2.0]).argmax().item(),
    }


def norm_layers() -> list[float]:
    """Return the differences of LayerNorm and BatchNorm in float64."""
    x = np.random.default_rng(0).normal(0, 0.01, (8, 4))
    one = [layer(torch.tensor(x)) for layer in (torch.nn.LayerNorm(4).double(), torch.nn.BatchNorm1d(4).double())]
    with paddle_dtype("float64"):
        layers = paddle.nn.LayerNorm(4), paddle.nn.BatchNorm1D(4)
    other = [layer(paddle.to_tensor(x)) for layer in layers]
    return [apart(a.detach().numpy(), b.numpy()) for a, b in zip(one, other, strict=True)]


@difference(
    SECTION,
    "index_add at a negative index",
    torch="`index_add_` raises IndexError or RuntimeError for the index -1.",
    paddle="`index_add_` adds to the last row, as indexing does.",
    effect="Adding 1 to row -1 of three zeros: {torch} in PyTorch, {paddle} in Paddle. Rows that occur several times"
    " are summed in both: {torch_twice:.0f} and {paddle_twice:.0f} after 1 + 2.",
    ours="Skipped noise words of word2vec have the id -1: they become row 0 with a gradient of 0, `_inputs` in"
    " [backends/paddle/words.py](../backends/paddle/words.py).",
    size="{torch} against {paddle}",
    older="`index_add_` gives {paddle}, as in PyTorch. It sums rows that occur several times.",
    claim=lambda f: (
        (f["torch"], f["paddle"]) == ("an error", "[0, 0, 1]") and (f["torch_twice"], f["paddle_twice"]) == (3, 3)
    ),
)
def index_add_negative():
    """Add to row -1, and twice to one row."""

    def shown(add) -> str:
        try:
            return str([int(x) for x in add().tolist()])
        except (IndexError, RuntimeError, ValueError):
            return "an error"

    twice = torch.zeros(2).index_add_(0, torch.tensor([1, 1]), torch.tensor([1.0, 2.0]))
    paddle_twice = paddle.zeros([2]).index_add_(paddle.to_tensor([1, 1]), 0, paddle.to_tensor([1.0, 2.0]))
    return {
        "torch": shown(lambda: torch.zeros(3).index_add_(0, torch.tensor([-1]), torch.ones(1))),
        "paddle": shown(lambda: paddle.zeros([3]).index_add_(paddle.to_tensor([-1]), 0, paddle.ones([1]))),
        "torch_twice": float(twice[1]),
        "paddle_twice": float(paddle_twice.numpy()[1]),
    }


@difference(
    SECTION,
    "Float64 layers with float32 constants",
    torch="Epsilons, slopes and constants have the precision of the tensor.",
    paddle="Some are rounded to float32, or have only seven digits, in float64 layers too: epsilons of normalization,"
    " the constants of `selu` and `hardsigmoid`; see also [momentum](#momentum_rounding),"
    " [decay](#adamw_decays_all) and [label smoothing](#label_smoothing).",
    effect="Largest difference in float64: LayerNorm {layer_norm:e}, BatchNorm {batch_norm:e}, `selu` {selu:e},"
    " `hardsigmoid` {hardsigmoid:e}, `leaky_relu` {leaky_relu:e}.",
    ours="None of these is in the spec. They explain float64 comparisons that differ by 1e-8 instead of 1e-15.",
    size="float64 results differ by {layer_norm:e}",
    claim=lambda f: min(f["layer_norm"], f["batch_norm"], f["selu"], f["hardsigmoid"]) > 1e-10,
)
def float32_inside():
    """Compare layers and activations on float64 tensors."""
    x = np.linspace(-6, 6, 1001)
    found = dict(zip(("layer_norm", "batch_norm"), norm_layers(), strict=True))
    for name in ("selu", "hardsigmoid", "leaky_relu"):
        one = getattr(torch.nn.functional, name)(torch.tensor(x))
        found[name] = apart(one.numpy(), getattr(paddle.nn.functional, name)(paddle.to_tensor(x)).numpy())
    return found
