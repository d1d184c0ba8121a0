"""Measurements of Paddle's compatibility with PyTorch's names."""

from __future__ import annotations

import json

from backends.paddle.framework import paddle
from backends.torch.framework import torch
from tools.differences import difference
from tools.differences.small import isolated

SECTION = "Paddle's compatibility layer"

CASES = """
import json
from backends.paddle.framework import paddle

def outcome(compute):
    try:
        result = compute()
    except Exception as error:
        return type(error).__name__
    return result if isinstance(result, (str, float)) else str([*result.shape])

paddle.seed(0)
own = paddle.compat.nn.Linear(256, 64)
found = {
    "linear": str([*paddle.nn.Linear(3, 4).weight.shape]),
    "compat": str([*paddle.compat.nn.Linear(3, 4).weight.shape]),
    "layers": ", ".join(sorted(paddle.compat.nn.__all__)),
    "weight": float(own.weight.abs().max()),
    "bias": float(own.bias.abs().max()),
}
paddle.enable_compat()
import torch
nn, x = torch.nn, torch.ones([2, 5, 3])
found |= {
    "module": torch.relu.__module__.partition(".")[0],
    "kept": outcome(lambda: paddle.nn.Linear(3, 4).weight),
    "enabled": outcome(lambda: nn.Linear(3, 4).weight),
    "embedding": float(nn.Embedding(30000, 128).weight.numpy().std()),
    "conv": outcome(lambda: nn.Conv1d(3, 4, 3).weight),
    "lstm": outcome(lambda: nn.LSTM(3, 4)(x)[1][0]),
    "batch_first": outcome(lambda: nn.LSTM(3, 4, batch_first=True)),
    "bidirectional": outcome(lambda: nn.LSTM(3, 4, bidirectional=True)),
    "rnn": outcome(lambda: nn.RNN(3, 4)),
    "norm": outcome(lambda: nn.BatchNorm1d(4)),
    "pack": outcome(lambda: nn.utils.rnn.pack_padded_sequence),
    "optim": outcome(lambda: torch.optim.Adam(nn.Linear(3, 4).parameters(), lr=1e-3)),
    "max": outcome(lambda: torch.max(x, dim=1).values),
}
print(">", json.dumps(found))
"""
NAMES = (
    *("linear", "compat", "layers", "weight", "bias", "module", "kept", "enabled", "embedding", "conv", "lstm"),
    *("batch_first", "bidirectional", "rnn", "norm", "pack", "optim", "max"),
)


@difference(
    SECTION,
    "`paddle.compat` and `enable_compat` do not run a recurrent model written for PyTorch",
    torch="`nn.Linear.weight` is `[out, in]`; recurrent layers have `batch_first` and `bidirectional`.",
    paddle="`paddle.compat.nn` has a few layers with PyTorch's conventions, among them `Linear`. After"
    " `paddle.enable_compat()`, `import torch` imports Paddle, with these layers instead of its own.",
    effect="""The weight of Linear(3, 4) is {linear} in `paddle.nn`, {compat} in `paddle.compat.nn`, and remains
{kept} in `paddle.nn` after `enable_compat()`. The layers of `paddle.compat.nn` are {layers}.

The bias of `compat.nn.Linear` is drawn as in PyTorch, but its weights come from U(-s, s) with s = 1 / sqrt(out) instead
of 1 / sqrt(in). Largest of the starting values of Linear(256, 64): weights {torch_weight:.4f} in PyTorch and
{weight:.4f} in `compat`, biases {torch_bias:.4f} and {bias:.4f}.

Code for PyTorch after `enable_compat()`, where `torch.relu` is from the package `{module}`; a shape, or the error:

| | |
|---|---|
| `nn.Linear(3, 4).weight` | {enabled} |
| `nn.Conv1d(3, 4, 3).weight` | {conv} |
| standard deviation of `nn.Embedding(30000, 128)` | {embedding:.4f}, [Paddle's](#embedding_start) |
| `nn.LSTM(3, 4)` on an array [2, 5, 3]: final h | {lstm}, [batch first](#batch_axis) |
| `nn.LSTM(3, 4, batch_first=True)` | {batch_first} |
| `nn.LSTM(3, 4, bidirectional=True)` | {bidirectional} |
| `nn.RNN(3, 4)` | {rnn} |
| `nn.BatchNorm1d(4)` | {norm} |
| `nn.utils.rnn.pack_padded_sequence` | {pack} |
| `torch.optim.Adam` | {optim} |
| `torch.max(x, dim=1)` | {max} |""",
    ours="Neither is used: each backend is written in its own framework, and Paddle 2.6 has neither. The linear layer"
    " has `[out, in]` weights in both ([backends/paddle/linear.py](../backends/paddle/linear.py)).",
    size="weights `[out, in]`, but `LSTM(batch_first=True)`: {batch_first}",
    older="Has neither ({enabled}).",
    claim=lambda f: (
        f["linear"] == f["kept"] == "[3, 4]"
        and f["compat"] == f["enabled"] == "[4, 3]"
        and f["module"] == "paddle"
        and f["lstm"] == "[1, 2, 4]"
        and f["batch_first"] == f["bidirectional"] == f["max"] == "TypeError"
        and f["rnn"] == f["norm"] == f["pack"] == f["optim"] == "AttributeError"
        and "Linear" in f["layers"].split(", ")
        and not any(part in f["layers"] for part in ("Embedding", "Conv", "RNN", "GRU", "LSTM"))
        and f["torch_weight"] <= 1 / 16 < 0.12 < f["weight"] <= 1 / 8
        and max(f["torch_bias"], f["bias"]) <= 1 / 16
        and f["embedding"] < 0.01
    ),
    slow=True,
)
def compat_layers():
    """Run code for PyTorch under Paddle's compatibility layer, in a separate process."""
    torch.manual_seed(0)
    own = torch.nn.Linear(256, 64)
    found = {"torch_weight": own.weight.abs().max().item(), "torch_bias": own.bias.abs().max().item()}
    if not hasattr(paddle, "enable_compat"):
        return dict.fromkeys(NAMES, "not available") | found
    return json.loads(isolated(CASES)[-1]) | found
