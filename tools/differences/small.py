"""A small classifier in each framework, from public layers only, and its training; used by several measurements.

Embedding -> bidirectional LSTM -> mean over time -> linear. All sequences have the same length, without padding. Arrays
have neutral names and torch's layout; the linear weight is transposed for Paddle.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np

from backends.paddle.framework import paddle
from backends.torch.framework import torch

ROOT = Path(__file__).parents[2]
VOCAB, DIM, HIDDEN, CLASSES = 200, 8, 8, 2
ROWS, LENGTH = 16, 8
SUFFIXES = ("", "_reverse")
LSTM_ARRAYS = tuple(f"{kind}_l0{s}" for s in SUFFIXES for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))


def batches(count: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return `count` batches of ids [ROWS, LENGTH] and labels [ROWS]; one token in seven is 1 + label."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        labels = rng.integers(0, CLASSES, ROWS)
        ids = rng.integers(CLASSES + 1, VOCAB, (ROWS, LENGTH))
        marked = rng.random((ROWS, LENGTH)) < 1 / 7
        found.append((np.where(marked, 1 + labels[:, None], ids), labels))
    return found


def start(seed: int = 0) -> dict[str, np.ndarray]:
    """Return starting values for both frameworks, float64."""
    rng = np.random.default_rng(seed)
    shapes = {"embedding": (VOCAB, DIM), "linear.weight": (CLASSES, 2 * HIDDEN), "linear.bias": (CLASSES,)}
    for name in LSTM_ARRAYS:
        last = {"weight_ih": (DIM,), "weight_hh": (HIDDEN,)}.get(name.partition("_l0")[0], ())
        shapes[name] = (4 * HIDDEN, *last)
    return {name: rng.normal(0.0, 0.3, shape) for name, shape in shapes.items()}


@contextlib.contextmanager
def paddle_dtype(dtype: str):
    """Set Paddle's default dtype, the only way to set the precision of its layers."""
    previous = paddle.get_default_dtype()
    paddle.set_default_dtype(dtype)
    try:
        yield
    finally:
        paddle.set_default_dtype(previous)


class TorchNet(torch.nn.Module):
    def __init__(self, dtype: str = "float64", arrays: dict[str, np.ndarray] | None = None):
        """Create the model with values `arrays`, or with the framework's defaults."""
        super().__init__()
        native = getattr(torch, dtype)
        self.embedding = torch.nn.Embedding(VOCAB, DIM, dtype=native)
        self.lstm = torch.nn.LSTM(DIM, HIDDEN, batch_first=True, bidirectional=True, dtype=native)
        self.linear = torch.nn.Linear(2 * HIDDEN, CLASSES, dtype=native)
        with torch.no_grad():
            for name, value in (arrays or {}).items():
                self.named()[name].copy_(torch.tensor(value))

    def named(self):
        lstm = {name: getattr(self.lstm, name) for name in LSTM_ARRAYS}
        linear = {"linear.weight": self.linear.weight, "linear.bias": self.linear.bias}
        return {"embedding": self.embedding.weight, **lstm, **linear}

    def loss(self, ids, labels):
        logits = self.linear(self.lstm(self.embedding(torch.tensor(ids)))[0].mean(1))
        return torch.nn.functional.cross_entropy(logits, torch.tensor(labels))


class PaddleNet(paddle.nn.Layer):
    def __init__(self, dtype: str = "float64", arrays: dict[str, np.ndarray] | None = None):
        """Create the model with values `arrays`, or with the framework's defaults."""
        super().__init__()
        with paddle_dtype(dtype):
            self.embedding = paddle.nn.Embedding(VOCAB, DIM)
            self.lstm = paddle.nn.LSTM(DIM, HIDDEN, direction="bidirect")
            self.linear = paddle.nn.Linear(2 * HIDDEN, CLASSES)
        for name, value in (arrays or {}).items():
            value = value.T if name == "linear.weight" else value
            self.named()[name].set_value(np.ascontiguousarray(value, dtype))

    def named(self):
        lstm = {name: getattr(self.lstm, name) for name in LSTM_ARRAYS}
        linear = {"linear.weight": self.linear.weight, "linear.bias": self.linear.bias}
        return {"embedding": self.embedding.weight, **lstm, **linear}

    def loss(self, ids, labels):
        logits = self.linear(self.lstm(self.embedding(paddle.to_tensor(ids)))[0].mean(1))
        return paddle.nn.functional.cross_entropy(logits, paddle.to_tensor(labels))


def train_torch(net, optimizer, data, clip=None, schedule=None) -> list[float]:
    """Train a step per batch, with `clip(parameters)` before it; return the losses."""
    losses = []
    for ids, labels in data:
        loss = net.loss(ids, labels)
        optimizer.zero_grad()
        loss.backward()
        if clip:
            clip(list(net.parameters()))
        optimizer.step()
        if schedule:
            schedule.step()
        losses.append(loss.item())
    return losses


def train_paddle(net, optimizer, data, clip=None, schedule=None) -> list[float]:
    """Train a step per batch; return the losses. Arguments as in `train_torch`."""
    losses = []
    for ids, labels in data:
        loss = net.loss(ids, labels)
        loss.backward()
        if clip:
            clip(list(net.named().values()))
        optimizer.step()
        optimizer.clear_grad()
        if schedule:
            schedule.step()
        losses.append(loss.item())
    return losses


def failure(function, *given, **named) -> str:
    """Call a function; return the error type, or "no error"."""
    try:
        function(*given, **named)
    except Exception as error:
        return type(error).__name__
    return "no error"


KILLED = "the process is killed"


def isolated(script: str, *arguments: str) -> list[str]:
    """Run a script in a separate process, which may crash.

    Return the lines that it printed with the prefix `> `, and `KILLED` at the end if it crashed.
    """
    command = [sys.executable, "-W", "ignore", "-c", script, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = [line.removeprefix("> ") for line in done.stdout.splitlines() if line.startswith("> ")]
    return lines if done.returncode == 0 else [*lines, KILLED]


def apart(one, other) -> float:
    """Return the largest absolute difference of two lists or arrays."""
    return float(np.abs(np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)).max())


def compare(steps: int, make_torch, make_paddle, torch_clip=None, paddle_clip=None) -> float:
    """Return the largest difference of losses over float64 steps with equal starting values and batches.

    `make_torch(parameters)` and `make_paddle(parameters)` create the optimizers.
    """
    data, arrays = batches(steps), start()
    one, other = TorchNet(arrays=arrays), PaddleNet(arrays=arrays)
    return apart(
        train_torch(one, make_torch(list(one.parameters())), data, torch_clip),
        train_paddle(other, make_paddle(list(other.named().values())), data, paddle_clip),
    )
