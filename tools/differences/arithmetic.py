"""Measurements of arithmetic: precision, dtypes, ties."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from backends.paddle.framework import paddle
from backends.torch.framework import torch
from tools.differences import difference
from tools.differences.small import PaddleNet, TorchNet, batches, start, train_paddle, train_torch

SECTION = "Arithmetic"
ROOT = Path(__file__).parents[2]
PADDLE_OPTIMIZER = "`clip` in [backends/paddle/optimizer.py](../backends/paddle/optimizer.py)"


@difference(
    SECTION,
    "Norms of millions of float32 numbers",
    torch="`sum` is accurate in float32; `norm` and `dot` are wrong in the fifth or sixth digit.",
    paddle="`sum` is accurate in float32; `norm` and `dot` on the CPU are wrong in the third digit.",
    effect="3.84 million standard normal numbers, relative error. PyTorch: norm {torch_norm:e}, dot {torch_dot:e}, sum"
    " of squares {torch_squares:e}. Paddle: norm {paddle_norm:e}, dot {paddle_dot:e}, sum of squares"
    " {paddle_squares:e}. Sequential summation of squares in float32: {one_by_one:e}, which is Paddle's `dot`.",
    ours=f"Norms are computed as sums of squares: {PADDLE_OPTIMIZER}.",
    size="`paddle.norm` off by {paddle_norm:e}, PyTorch's by {torch_norm:e}",
    older="`norm` is accurate ({paddle_norm:e}); `dot` is off by {paddle_dot:e}.",
    claim=lambda f: f["paddle_norm"] > 1e-4 and f["paddle_dot"] > 1e-4 > 100 * f["paddle_squares"],
)
def norm_float32():
    """Measure errors of norms, dot products and sums of squares, at the size of an embedding's gradient."""
    x = np.random.default_rng(0).normal(size=30000 * 128).astype(np.float32)
    square = float((x.astype(np.float64) ** 2).sum())
    one, other = torch.tensor(x), paddle.to_tensor(x)
    found = {
        "torch_norm": one.norm().item() ** 2,
        "paddle_norm": paddle.norm(other).item() ** 2,
        "torch_dot": one.dot(one).item(),
        "paddle_dot": paddle.dot(other, other).item(),
        "torch_squares": one.square().sum().item(),
        "paddle_squares": other.square().sum().item(),
        "one_by_one": float(np.cumsum(x * x, dtype=np.float32)[-1]),
    }
    return {name: abs((value / square) ** (0.5 if "norm" in name else 1.0) - 1.0) for name, value in found.items()}


@difference(
    SECTION,
    "The gradient of tied maxima",
    torch="`amax` divides it equally; `max(dim)` assigns it to one of them.",
    paddle="`amax` and `max` divide it equally.",
    effect="Gradient at [2, 2, 1]: PyTorch `amax` {torch_amax}, `max` {torch_max}; Paddle `amax` {paddle_amax}, `max`"
    " {paddle_max}.",
    ours="Max pooling uses the position of the first maximum: `PooledHead.pool` in"
    " [backends/paddle/heads/pooled.py](../backends/paddle/heads/pooled.py) and"
    " [backends/torch/heads/pooled.py](../backends/torch/heads/pooled.py).",
    size="`max`: {torch_max} against {paddle_max}",
    claim=lambda f: (
        f["torch_amax"] == f["paddle_amax"] == "0.5, 0.5, 0"
        and f["torch_max"] == "1, 0, 0"
        and f["paddle_max"] == "0.5, 0.5, 0"
    ),
    older="`max` assigns the whole gradient to each of them ({paddle_max}), so that it is counted twice.",
)
def max_ties():
    """Compare the gradients of maxima over [2, 2, 1]."""
    found = {}
    for name in ("amax", "max"):
        one = torch.tensor([2.0, 2.0, 1.0], requires_grad=True)
        (one.amax(0) if name == "amax" else one.max(0).values).backward()
        other = paddle.to_tensor([2.0, 2.0, 1.0], stop_gradient=False)
        getattr(paddle, name)(other, axis=0).backward()
        found[f"torch_{name}"], found[f"paddle_{name}"] = (
            ", ".join(f"{value:g}" for value in gradient.numpy()) for gradient in (one.grad, other.grad)
        )
    return found


def outcome(compute) -> str:
    """Return dtype and values of a result, or the error type."""
    try:
        result = compute()
    except Exception as error:
        return type(error).__name__
    values = np.asarray(result.numpy()).reshape(-1).tolist()
    shown = ", ".join(f"{value:g}" if not isinstance(value, bool) else str(value) for value in values)
    return (
        f"{str(result.dtype).rpartition('.')[2]} [{shown}]"
        if len(values) > 1
        else (f"{str(result.dtype).rpartition('.')[2]} {shown}")
    )


@difference(
    SECTION,
    "Operations on integers and floats",
    effect="""i = [1, 2, 4] in int64, f = [1.5, 1.5, 1.5] in float32:

| | PyTorch | Paddle |
|---|---|---|
| i * 0.5 | {torch_scalar} | {paddle_scalar} |
| i / 2 | {torch_divide} | {paddle_divide} |
| i + f | {torch_left} | {paddle_left} |
| f + i | {torch_right} | {paddle_right} |
| (i > 1) * f | {torch_bool} | {paddle_bool} |
| i.mean() | {torch_mean} | {paddle_mean} |
| i.clip(max=2.5) | {torch_clip} | {paddle_clip} |
| full([2], 3) | {torch_full} | {paddle_full} |
| median of [1, 2, 4, 8] | {torch_median} | {paddle_median} |
| round of [0.5, 1.5, 2.5] | {torch_round} | {paddle_round} |
| max of [1, nan, 2] | {torch_nan} | {paddle_nan} |
""",
    ours="Tensors are cast explicitly: `mask` has the model's precision, labels are cast in `losses`"
    " ([runtime.py](../backends/paddle/runtime.py), [heads/pooled.py](../backends/paddle/heads/pooled.py)).",
    size="int64 + float32: {torch_left} against {paddle_left}",
    older="i + f has the dtype of the left operand and truncates without an error: {paddle_left}; (i > 1) * f is"
    " {paddle_bool}; i.clip(max=2.5) is {paddle_clip}; halves are rounded away from zero: {paddle_round}; max of"
    " [1, nan, 2] is {paddle_nan}. The others are as above.",
    claim=lambda f: (
        f["torch_left"] == "float32 [2.5, 3.5, 5.5]"
        and f["paddle_left"] == f["paddle_right"] == f["paddle_bool"] == "TypeError"
        and f["paddle_mean"] == "int64 2"
        and f["torch_scalar"] == f["paddle_scalar"]
    ),
)
def number_kinds():
    """Compare dtypes and values of small expressions."""
    found = {}
    halves, hole = [0.5, 1.5, 2.5], [1.0, float("nan"), 2.0]
    for name, framework, tensor in (("torch", torch, torch.tensor), ("paddle", paddle, paddle.to_tensor)):
        i, f = tensor([1, 2, 4]), tensor([1.5, 1.5, 1.5])
        expressions = {
            "scalar": lambda i=i: i * 0.5,
            "divide": lambda i=i: i / 2,
            "left": lambda i=i, f=f: i + f,
            "right": lambda i=i, f=f: f + i,
            "bool": lambda i=i, f=f: (i > 1) * f,
            "mean": lambda i=i: i.mean(),
            "clip": lambda i=i: i.clip(max=2.5),
            "full": lambda framework=framework: framework.full([2], 3),
            "median": lambda tensor=tensor: tensor([1.0, 2.0, 4.0, 8.0]).median(),
            "round": lambda tensor=tensor: tensor(halves).round(),
            "nan": lambda tensor=tensor: tensor(hole).max(),
        }
        for kind, compute in expressions.items():
            found[f"{name}_{kind}"] = outcome(compute)
    return found


POWER = """
from backends.paddle.framework import paddle
numbers = paddle.to_tensor([1, 2])
print("ready", flush=True)
print((numbers ** -1).numpy())
"""


@difference(
    SECTION,
    "Negative powers of integers",
    torch="Raises an error.",
    paddle="The call does not return, on the CPU.",
    effect="`[1, 2] ** -1` in int64: {torch} in PyTorch; in Paddle {paddle}.",
    ours="Powers of integers are not used.",
    size="{paddle}",
    claim=lambda f: f["torch"] == "RuntimeError" and f["paddle"] == "no answer within 5 s",
    slow=True,
)
def integer_power():
    """Compute [1, 2] ** -1, in a separate process for Paddle."""
    try:
        torch.tensor([1, 2]) ** -1
        found = "no error"
    except RuntimeError as error:
        found = type(error).__name__
    process = subprocess.Popen([sys.executable, "-c", POWER], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()  # the import is done
    try:
        rest, _ = process.communicate(timeout=5)
        answer = rest.strip() or "an error"
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        answer = "no answer within 5 s"
    return {"torch": found, "paddle": answer}


@difference(
    SECTION,
    "The same formulas diverge in float32",
    torch="Sums are computed in one order.",
    paddle="Sums are computed in a different order.",
    effect="The same small BiLSTM, starting values, batches and Adam (0.01). Largest difference of the loss so far in"
    " float32: step 1 {step_1:e}, 10 {step_10:e}, 50 {step_50:e}, 100 {step_100:e}, 200 {step_200:e}. In float64 after"
    " 200 steps: {float64:e}. A difference of this size in float32 is not a sign of an error.",
    ours="Parity is verified in float64 and recorded in float32: the table in [parity](parity.md)"
    " ([tests/parity/test_layers.py](../tests/parity/test_layers.py)).",
    size="{step_200:e} in 200 float32 steps, {float64:e} in float64",
    claim=lambda f: f["step_1"] < 1e-6 and f["step_200"] > f["step_1"] and f["float64"] < 1e-12,
)
def float32_drift():
    """Compare the losses of the two frameworks in both precisions, with everything else equal."""
    data, found = batches(200), {}
    for dtype in ("float32", "float64"):
        one, other = TorchNet(dtype, start()), PaddleNet(dtype, start())
        losses = train_torch(one, torch.optim.Adam(one.parameters(), lr=0.01), data)
        adam = paddle.optimizer.Adam(0.01, parameters=list(other.named().values()))
        apart = np.maximum.accumulate(np.abs(np.subtract(losses, train_paddle(other, adam, data))))
        if dtype == "float64":
            found["float64"] = float(apart[-1])
        else:
            found |= {f"step_{step}": float(apart[step - 1]) for step in (1, 10, 50, 100, 200)}
    return found


TF32 = """
import json, torch
print(json.dumps([torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32]))
"""


@difference(
    SECTION,
    "TF32 on GPUs (settings only; the effect was not measured)",
    torch="Documented: off for matrix products, on for cuDNN, which computes convolutions and recurrent layers."
    " Settings: `torch.backends.cuda.matmul.allow_tf32`, `torch.backends.cudnn.allow_tf32`.",
    paddle="According to a warning in `paddle/optimizer/lbfgs.py` (3.3), TF32 is on by default on some NVIDIA GPUs, and"
    " `NVIDIA_TF32_OVERRIDE=0` disables it. This is NVIDIA's variable, read at start-up; we found no public setting in"
    " Paddle.",
    effect="PyTorch's settings after import: matrix products {matmul}, cuDNN {cudnn}. TF32 has 10 fraction bits,"
    " float32 has 23.",
    ours="TF32 is off in both for float32 ([backends/torch/framework.py](../backends/torch/framework.py),"
    " [backends/paddle/framework.py](../backends/paddle/framework.py)).",
    size="not measured: no GPU",
    claim=lambda f: (f["matmul"], f["cudnn"]) == ("off", "on"),
    slow=True,
)
def tf32():
    """Read PyTorch's settings in a process that has only imported it."""
    environment = {name: value for name, value in os.environ.items() if name != "NVIDIA_TF32_OVERRIDE"}
    done = subprocess.run(
        [sys.executable, "-c", TF32], check=True, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    matmul, cudnn = json.loads(done.stdout.strip().splitlines()[-1])
    return {"matmul": "on" if matmul else "off", "cudnn": "on" if cudnn else "off"}
