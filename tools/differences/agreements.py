"""Measurements of agreements: largest differences."""

from __future__ import annotations

import warnings

import numpy as np

from backends.paddle.framework import paddle
from backends.torch.framework import torch
from tools.differences import agreement
from tools.differences.layers import copied, norm_layers
from tools.differences.small import apart, compare, paddle_dtype

torch_f, paddle_f = torch.nn.functional, paddle.nn.functional


def recurrent_pair(torch_class, paddle_class) -> float:
    """Compare outputs and final states of two bidirectional layers in float64, with equal parameters."""
    torch.manual_seed(0)
    one = torch_class(5, 6, num_layers=2, batch_first=True, bidirectional=True, dtype=torch.float64)
    with paddle_dtype("float64"):
        other = paddle_class(5, 6, num_layers=2, direction="bidirect")
    copied(one, other)
    x = torch.randn(3, 7, 5, dtype=torch.float64)
    outputs, states = one(x)
    other_outputs, other_states = other(paddle.to_tensor(x.numpy()))
    if not isinstance(states, tuple):
        states, other_states = (states,), (other_states,)
    return max(
        apart(outputs.detach().numpy(), other_outputs.numpy()),
        *(apart(s.detach().numpy(), o.numpy()) for s, o in zip(states, other_states, strict=True)),
    )


@agreement("LSTM: gates in the order i, f, g, o; names and layout of the arrays; order of the final states (float64)")
def lstm_gates():
    """Compare LSTMs with two layers and two directions."""
    return {"largest": recurrent_pair(torch.nn.LSTM, paddle.nn.LSTM)}


@agreement("GRU: gates r, z, n; the reset gate after the recurrent product; h = (1 - z) n + z h (float64)")
def gru_gates():
    """Compare GRUs with two layers and two directions."""
    return {"largest": recurrent_pair(torch.nn.GRU, paddle.nn.GRU)}


@agreement("SRN (`nn.RNN`, `nn.SimpleRNN`): tanh, two biases (float64)")
def srn():
    """Compare SRNs with two layers and two directions."""
    return {"largest": recurrent_pair(torch.nn.RNN, paddle.nn.SimpleRNN)}


@agreement("Starting values of LSTM, GRU and SRN: U(-1/sqrt(H), 1/sqrt(H)), biases too (bound, relative)", limit=0.01)
def recurrent_start():
    """Compare the largest entry of every array with 1 / sqrt(H)."""
    torch.manual_seed(0), paddle.seed(0)
    found = []
    for kind, other in (("LSTM", "LSTM"), ("GRU", "GRU"), ("RNN", "SimpleRNN")):
        for layer in (getattr(torch.nn, kind)(400, 400), getattr(paddle.nn, other)(400, 400)):
            for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
                found.append(abs(np.abs(getattr(layer, name).detach().numpy()).max() * 20 - 1))
    return {"largest": float(max(found))}


@agreement("Dropout inside a recurrent layer: between layers only, none after the last or with one layer", limit=0.0)
def recurrent_dropout():
    """Compare one layer with dropout in training and evaluation; count zeros after the last of two layers."""
    x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that it has no effect
        one = torch.nn.LSTM(8, 8, dropout=0.9, batch_first=True)
    other = paddle.nn.LSTM(8, 8, dropout=0.9)
    for layer, tensor in ((one, torch.tensor(x)), (other, paddle.to_tensor(x))):
        layer.train()
        training = layer(tensor)[0].detach().numpy()
        layer.eval()
        found.append(apart(training, layer(tensor)[0].detach().numpy()))
    two = torch.nn.LSTM(8, 8, num_layers=2, dropout=0.9, batch_first=True), paddle.nn.LSTM(8, 8, 2, dropout=0.9)
    for layer, tensor in zip(two, (torch.tensor(x), paddle.to_tensor(x)), strict=True):
        found.append(float((layer(tensor)[0].detach().numpy() == 0).mean()))
    return {"largest": max(found)}


@agreement("Adam: epsilon is added to the bias-corrected root, here 0.001 (loss over 60 float64 steps)")
def adam_epsilon():
    """Compare Adam with an epsilon large enough to show where it is added."""
    return {
        "largest": compare(
            60,
            lambda p: torch.optim.Adam(p, lr=0.01, eps=1e-3),
            lambda p: paddle.optimizer.Adam(0.01, epsilon=1e-3, parameters=p),
        )
    }


@agreement("Adam's `weight_decay`, here 1/128: L2, added to the gradient of every parameter (60 float64 steps)")
def adam_l2():
    """Compare Adam with L2 regularization, which is not decoupled in both."""
    return {
        "largest": compare(
            60,
            lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=1 / 128),
            lambda p: paddle.optimizer.Adam(0.01, weight_decay=1 / 128, parameters=p),
        )
    }


@agreement("Step schedule: `StepLR` and `StepDecay` change the rate at the same call of `step()`")
def step_schedule():
    """Compare ten rates, halved every third step."""
    sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    one = torch.optim.lr_scheduler.StepLR(sgd, 3, gamma=0.5)
    other = paddle.optimizer.lr.StepDecay(1.0, 3, gamma=0.5)
    rates = []
    for _ in range(10):
        rates.append((sgd.param_groups[0]["lr"], other.get_lr()))
        sgd.step(), one.step(), other.step()
    return {"largest": apart(*zip(*rates, strict=True))}


@agreement("Losses: cross-entropy plain and with class weights, KL divergence, mean squares (float64)")
def losses():
    """Compare losses with their default reduction (KL: with an explicit mean)."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 8, 3))
    labels, weights = rng.integers(0, 3, 8), np.array([1.0, 2.0, 3.0])
    logs, shares = (values - np.log(np.exp(values).sum(1, keepdims=True)) for values in (x, y))
    shares = np.exp(shares)

    def run(functional, tensor):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns that the mean of KL is not by batch
            return [
                functional.cross_entropy(tensor(x), tensor(labels)).item(),
                functional.cross_entropy(tensor(x), tensor(labels), weight=tensor(weights)).item(),
                functional.kl_div(tensor(logs), tensor(shares), reduction="mean").item(),
                functional.mse_loss(tensor(x), tensor(y)).item(),
            ]

    return {"largest": apart(run(torch_f, torch.tensor), run(paddle_f, paddle.to_tensor))}


@agreement(
    "Binary cross-entropy of logits with `pos_weight` (float64)",
    older="{largest:.2f}: `pos_weight` has a different meaning",
)
def positive_weights():
    """Compare the loss of three columns with weights 1, 2, 3."""
    rng = np.random.default_rng(0)
    x, y, weights = rng.normal(size=(8, 3)), (rng.random((8, 3)) > 0.5).astype(np.float64), np.array([1.0, 2.0, 3.0])
    found = [
        functional.binary_cross_entropy_with_logits(tensor(x), tensor(y), pos_weight=tensor(weights)).item()
        for functional, tensor in ((torch_f, torch.tensor), (paddle_f, paddle.to_tensor))
    ]
    return {"largest": apart(*found)}


ACTIVATIONS = ("relu", "gelu", "elu", "celu", "silu", "mish", "softplus", "softsign", "tanhshrink", "hardswish")


@agreement(f"Activations with default settings (GELU exact, not tanh), float64: {', '.join(ACTIVATIONS)}")
def activations():
    """Compare activations on 1,001 points from -6 to 6."""
    x = np.linspace(-6, 6, 1001)
    found = {}
    for name in ACTIVATIONS:
        one, other = getattr(torch_f, name)(torch.tensor(x)), getattr(paddle_f, name)(paddle.to_tensor(x))
        found[name] = apart(one.numpy(), other.numpy())
    return {"largest": max(found.values())}


@agreement(
    "LayerNorm and BatchNorm: epsilon 1e-5, variance by n in the output (except rounding of epsilon)", limit=1e-7
)
def normalization():
    """Compare outputs in training, on numbers small enough for epsilon to matter."""
    return {"largest": max(norm_layers())}


@agreement("`std` and `var` divide by n - 1; `argmax` returns the first of ties; // and % round down (float64, int64)")
def small_conventions():
    """Compare a small case of each convention."""
    one, other = torch.tensor([1.0, 2.0, 4.0, 4.0], dtype=torch.float64), paddle.to_tensor(np.array([1.0, 2, 4, 4]))
    whole, other_whole = torch.tensor([-7, 7]), paddle.to_tensor([-7, 7])
    return {
        "largest": max(
            apart(one.std().item(), other.std().item()),
            apart(one.var().item(), other.var().item()),
            apart(one.argmax().item(), other.argmax().item()),
            apart((whole // 2).numpy(), (other_whole // 2).numpy()),
            apart((whole % 3).numpy(), (other_whole % 3).numpy()),
        )
    }
