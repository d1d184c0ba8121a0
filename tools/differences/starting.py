"""Measurements of starting values."""

from __future__ import annotations

import numpy as np

from backends.paddle.framework import paddle
from backends.torch.framework import torch
from tools.differences import difference
from tools.differences.small import PaddleNet, TorchNet, batches, train_paddle, train_torch

SECTION = "Starting values"
PARAMETERS = "[core/models/parameters.py](../core/models/parameters.py)"


@difference(
    SECTION,
    "Embeddings: starting values a hundred times smaller in Paddle",
    torch="`nn.Embedding` draws from N(0, 1), independent of its size.",
    paddle="`nn.Embedding` draws from U(-s, s) with s = sqrt(6 / (V + E)): the larger the vocabulary, the smaller the"
    " vectors.",
    effect="For 30,000 vectors of size 128 the standard deviation is {torch_std:.3f} in PyTorch and {paddle_std:.4f}"
    " in Paddle: {ratio:.0f} times smaller. Both initialize the row of `padding_idx` to zero.",
    ours=f"Core draws the values for both frameworks, by the scheme in the spec (`init`): {PARAMETERS}.",
    size="standard deviation {torch_std:.2f} against {paddle_std:.3f}",
    claim=lambda f: f["ratio"] > 100 and f["largest_padding_row"] == 0,
)
def embedding_start():
    """Compare default starting values of an embedding of realistic size."""
    torch.manual_seed(0), paddle.seed(0)
    one = torch.nn.Embedding(30000, 128, padding_idx=0).weight.detach().numpy()
    other = paddle.nn.Embedding(30000, 128, padding_idx=0).weight.numpy()
    return {
        "torch_std": float(one.std()),
        "paddle_std": float(other.std()),
        "ratio": float(one.std() / other.std()),
        "largest_padding_row": float(max(np.abs(one[0]).max(), np.abs(other[0]).max())),
    }


@difference(
    SECTION,
    "Linear layers: different weights, and zero biases in Paddle",
    torch="`nn.Linear`: weight and bias from U(-s, s) with s = 1 / sqrt(in).",
    paddle="`nn.Linear`: weight from U(-s, s) with s = sqrt(6 / (in + out)), bias zero.",
    effect="Linear(256, 64): the weights' standard deviation is {torch_weight:.4f} against {paddle_weight:.4f}, the"
    " biases' {torch_bias:.4f} against {paddle_bias:.0f}.",
    ours=f"The same scheme for both: {PARAMETERS}, `fan_uniform` (PyTorch's) or `xavier_uniform` (Paddle's).",
    size="weights {ratio:.1f} times larger in Paddle, biases zero",
    claim=lambda f: f["ratio"] > 2 and f["paddle_bias"] == 0 < f["torch_bias"],
)
def linear_start():
    """Compare default starting values of a linear layer."""
    torch.manual_seed(0), paddle.seed(0)
    one, other = torch.nn.Linear(256, 64), paddle.nn.Linear(256, 64)
    return {
        "torch_weight": float(one.weight.detach().numpy().std()),
        "paddle_weight": float(other.weight.numpy().std()),
        "torch_bias": float(one.bias.detach().numpy().std()),
        "paddle_bias": float(other.bias.numpy().std()),
        "ratio": float(other.weight.numpy().std() / one.weight.detach().numpy().std()),
    }


@difference(
    SECTION,
    "Convolutions: larger weights and zero biases in Paddle",
    torch="`nn.Conv1d`: weight and bias from U(-s, s) with s = 1 / sqrt(in * k).",
    paddle="`nn.Conv1D`: weight from N(0, 2 / (in * k)), bias zero.",
    effect="Conv1d(100, 100, 3): the weights' standard deviation is {torch_weight:.4f} against {paddle_weight:.4f}, the"
    " biases' {torch_bias:.4f} against {paddle_bias:.0f}.",
    ours=f"The same scheme for both: {PARAMETERS}, `fan_uniform` (PyTorch's) or `xavier_uniform`.",
    size="weights {ratio:.1f} times larger in Paddle, biases zero",
    claim=lambda f: 2.3 < f["ratio"] < 2.6 and f["paddle_bias"] == 0 < f["torch_bias"],
)
def convolution_start():
    """Compare default starting values of a convolution of TextCNN's size."""
    torch.manual_seed(0), paddle.seed(0)
    one, other = torch.nn.Conv1d(100, 100, 3), paddle.nn.Conv1D(100, 100, 3)
    return {
        "torch_weight": float(one.weight.detach().numpy().std()),
        "paddle_weight": float(other.weight.numpy().std()),
        "torch_bias": float(one.bias.detach().numpy().std()),
        "paddle_bias": float(other.bias.numpy().std()),
        "ratio": float(other.weight.numpy().std() / one.weight.detach().numpy().std()),
    }


@difference(
    SECTION,
    "Effect of default starting values on training",
    torch="Each layer starts from PyTorch's defaults.",
    paddle="Each layer starts from Paddle's defaults.",
    effect="The same small BiLSTM, batches and Adam (1e-3), mean of three seeds. Loss at step 1: {torch_first:.3f}"
    " against {paddle_first:.3f}; at steps 91 to 100: {torch_100:.3f} against {paddle_100:.3f}; at steps 191 to 200:"
    " {torch_200:.3f} against {paddle_200:.3f}.",
    ours=f"Both start from bitwise identical values: {PARAMETERS}.",
    size="loss after 200 steps {torch_200:.2f} against {paddle_200:.2f}",
    claim=lambda f: abs(f["torch_200"] - f["paddle_200"]) > 0.02,
)
def own_start_training():
    """Train 200 float32 steps from each framework's default values, with everything else equal."""
    curves = {"torch": [], "paddle": []}
    data = batches(200)
    for seed in range(3):
        torch.manual_seed(seed), paddle.seed(seed)
        one, other = TorchNet("float32"), PaddleNet("float32")
        curves["torch"].append(train_torch(one, torch.optim.Adam(one.parameters(), lr=1e-3), data))
        adam = paddle.optimizer.Adam(1e-3, parameters=list(other.named().values()))
        curves["paddle"].append(train_paddle(other, adam, data))
    figures = {}
    for name, curve in curves.items():
        mean = np.mean(curve, axis=0)
        figures |= {f"{name}_first": mean[0], f"{name}_100": mean[90:100].mean(), f"{name}_200": mean[190:].mean()}
    return {name: float(value) for name, value in figures.items()}


@difference(
    SECTION,
    "The same seed gives different random numbers",
    torch="`torch.manual_seed(0)` seeds a Mersenne Twister on the CPU.",
    paddle="`paddle.seed(0)` seeds a different generator, which is used in a different order.",
    effect="After seed 0 in both, the first 10,000 normal numbers have a correlation of {correlation:.3f}, and two"
    " dropout masks of rate 0.5 agree on {agreeing:.1%} of units, as expected by chance.",
    ours="Core draws starting values, batch order and dropout masks from (seed, name), for both frameworks:"
    " [core/rng.py](../core/rng.py).",
    size="dropout masks agree on {agreeing:.0%} of units",
    claim=lambda f: abs(f["correlation"]) < 0.05 and abs(f["agreeing"] - 0.5) < 0.02,
)
def same_seed():
    """Compare normal numbers and dropout masks after the same seed."""
    torch.manual_seed(0), paddle.seed(0)
    normal = np.corrcoef(torch.randn(10000).numpy(), paddle.randn([10000]).numpy())[0, 1]
    torch.manual_seed(0), paddle.seed(0)
    one = torch.nn.functional.dropout(torch.ones(10000), 0.5).numpy()
    other = paddle.nn.functional.dropout(paddle.ones([10000]), 0.5).numpy()
    return {"correlation": float(normal), "agreeing": float(((one > 0) == (other > 0)).mean())}


@difference(
    SECTION,
    "Weights of linear layers are transposed",
    torch="`nn.Linear.weight` is `[out, in]`: y = x W^T + b.",
    paddle="`nn.Linear.weight` is `[in, out]`: y = x W + b. Weights of the recurrent layers are `[out, in]` in both,"
    " as are those of [`paddle.compat.nn.Linear`](#compat_layers).",
    effect="A square weight (128 x 128) loads without an error, and the relative error of the output is {wrong:.0%}."
    " With the transposed weight it is {right:e}.",
    ours="`[out, in]` everywhere; Paddle multiplies by the transpose:"
    " [backends/paddle/linear.py](../backends/paddle/linear.py).",
    size="an untransposed square weight: output off by {wrong:.0%}",
    claim=lambda f: f["wrong"] > 1 and f["right"] < 1e-5,
)
def linear_layout():
    """Load PyTorch's weight into Paddle's linear layer, as is and transposed."""
    torch.manual_seed(0)
    one, other = torch.nn.Linear(128, 128), paddle.nn.Linear(128, 128)
    x = torch.randn(64, 128)
    wanted = one(x).detach().numpy()
    found = {}
    for name, weight in (("wrong", one.weight), ("right", one.weight.T)):
        arrays = {"weight": np.ascontiguousarray(weight.detach().numpy()), "bias": one.bias.detach().numpy()}
        other.set_state_dict({key: paddle.to_tensor(value) for key, value in arrays.items()})
        error = other(paddle.to_tensor(x.numpy())).numpy() - wanted
        found[name] = float(np.linalg.norm(error) / np.linalg.norm(wanted))
    return found
