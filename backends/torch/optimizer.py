"""Clipping, decoupled weight decay, the framework's Adam and our SGD, with their state under neutral names."""

from __future__ import annotations

import numpy as np

from backends.kernels.training import EmbeddingAdam
from backends.torch.fast import RowGradient, address
from backends.torch.framework import torch
from backends.torch.runtime import to_numpy, to_tensor
from core import spec

STATE = {"moment1": "exp_avg", "moment2": "exp_avg_sq"}
"""Neutral name of each kind of Adam's state, and the framework's."""


def clip(gradients: list[torch.Tensor], mode: str, limit: float) -> torch.Tensor:
    """Scale gradients in place by min(1, limit / norm) and return the global norm before that, on the device.

    No epsilon is added (`torch.nn.utils.clip_grad_norm_` adds 1e-6). A zero norm divides to infinity, and min takes 1.
    """
    with torch.no_grad():
        squares = squares_of(gradients)
        total = squares.sum().sqrt()
        if mode == "global":
            torch._foreach_mul_(gradients, (limit / total).clamp(max=1.0))
        elif mode == "tensor":
            for gradient, scale in zip(gradients, (limit / squares.sqrt()).clamp(max=1.0), strict=True):
                gradient.mul_(scale)
    return total


def squares_of(gradients: list[torch.Tensor]) -> torch.Tensor:
    """[tensors], each one's sum of squares."""
    if gradients[0].device.type != "cpu":
        # One operation for the GPU, not two a tensor. On the CPU it adds millions of float32 wrong by 1e-4.
        return torch.stack(torch._foreach_norm(gradients)).square()
    return torch.stack([gradient.square().sum() for gradient in gradients])


def clip_each(gradients: list[torch.Tensor], mode: str, limit: float) -> torch.Tensor:
    """`clip` of models side by side, each by itself: gradients [M, ...]. Returns every tensor's norms, [tensors, M]."""
    with torch.no_grad():
        squares = torch.stack([gradient.square().reshape(gradient.shape[0], -1).sum(1) for gradient in gradients])
        if mode == "global":
            scales = (limit / squares.sum(0).sqrt()).clamp(max=1.0).expand(squares.shape)
        elif mode == "tensor":
            scales = (limit / squares.sqrt()).clamp(max=1.0)
        if mode != "none":
            # All are scaled before any is written: of one token a model, a layer's two biases share one gradient.
            scaled = [
                gradient * scale.reshape([-1] + [1] * (gradient.dim() - 1))
                for gradient, scale in zip(gradients, scales, strict=True)
            ]
            for gradient, result in zip(gradients, scaled, strict=True):
                gradient.copy_(result)
        return squares.sqrt()


def decay(named: dict[str, torch.nn.Parameter], weight_decay: float, learning_rate: float) -> None:
    """Decoupled weight decay, on the values before the step, never on biases. Row 0 of the embedding stays zero."""
    if weight_decay == 0.0:
        return
    with torch.no_grad():
        for name, parameter in named.items():
            if "bias" not in name:
                parameter.mul_(1.0 - learning_rate * weight_decay)


class Adam:
    """The framework's Adam; and of a parameter whose gradient comes by rows, that of `backends/kernels/training.py`."""

    def __init__(self, optimizer: spec.Adam, named: dict[str, torch.nn.Parameter], by_rows: tuple[str, ...]):
        """`by_rows`: names of parameters [V, E] with such a gradient, one at most."""
        self.named = named
        self.rowwise = RowAdam(optimizer, named[by_rows[0]]) if by_rows else None
        self.dense = {name: parameter for name, parameter in named.items() if name not in by_rows}
        self.weight_decay = optimizer.weight_decay
        self.native = torch.optim.Adam(
            list(self.dense.values()),
            lr=optimizer.learning_rate,
            betas=(optimizer.beta1, optimizer.beta2),
            eps=optimizer.epsilon,
            fused=True,
        )

    def step(self, learning_rate: float, rows: RowGradient | None) -> None:
        """Apply the gradients; `rows` is that of the parameter that has none of its own."""
        decay(self.named, self.weight_decay, learning_rate)
        for group in self.native.param_groups:
            group["lr"] = learning_rate
        self.native.step()
        if self.rowwise is not None:
            self.rowwise.step(learning_rate, rows)

    def moments(self) -> dict[str, np.ndarray]:
        """State by neutral name, zeros before the first step."""
        found = {}
        for kind in STATE:
            for name, parameter in self.named.items():
                state = self.native.state[parameter] if name in self.dense else self.rowwise.state
                tensor = state.get(STATE[kind])
                found[f"{kind}/{name}"] = to_numpy(torch.zeros_like(parameter) if tensor is None else tensor)
        return found

    def load(self, moments: dict[str, np.ndarray], steps: int) -> None:
        """Take over state after `steps` steps."""
        self.native.state.clear()
        if steps == 0:
            if self.rowwise is not None:
                self.rowwise.restart()
            return
        for name, parameter in self.named.items():
            if name not in self.dense:
                self.rowwise.load(*(moments[f"{kind}/{name}"] for kind in STATE), steps)
                continue
            state = self.native.state[parameter]
            for kind in STATE:
                # A copy: the framework goes on in this memory.
                state[STATE[kind]] = to_tensor(moments[f"{kind}/{name}"].copy(), parameter.device)
            # Fused Adam keeps its step count beside the parameter, in float32.
            state["step"] = torch.tensor(float(steps), dtype=torch.float32, device=parameter.device)


class RowAdam:
    """Adam's state of word vectors [V, E], and its step from a gradient by rows."""

    def __init__(self, optimizer: spec.Adam, parameter: torch.nn.Parameter):
        self.optimizer, self.parameter = optimizer, parameter
        self.restart()

    def restart(self) -> None:
        """To before the first step."""
        self.load(*(np.zeros(tuple(self.parameter.shape), self.numpy_dtype()) for _ in STATE), 0)

    def numpy_dtype(self) -> str:
        return str(self.parameter.dtype).rpartition(".")[2]

    def step(self, learning_rate: float, rows: RowGradient) -> None:
        arrays = (self.parameter, *self.state.values())
        self.kernel.step(*(address(array) for array in arrays), rows.rows, address(rows.values), learning_rate)

    def load(self, moment1: np.ndarray, moment2: np.ndarray, steps: int) -> None:
        place = self.parameter.device
        moments = zip(STATE.values(), (moment1, moment2), strict=True)
        # Copies: the kernel goes on in this memory.
        self.state = {name: to_tensor(moment.copy(), place) for name, moment in moments}
        self.kernel = EmbeddingAdam(self.optimizer, moment1.shape, moment1.dtype == np.float64)
        self.kernel.load(moment1, moment2, steps)


class SGD:
    """`v = momentum * v + g; p = p - lr * v`. By hand: Paddle's Momentum rounds its coefficient to float32."""

    def __init__(self, optimizer: spec.SGD, named: dict[str, torch.nn.Parameter], by_rows: tuple[str, ...]):
        """`by_rows`: none; all gradients are dense."""
        self.named = named
        self.weight_decay = optimizer.weight_decay
        self.momentum = optimizer.momentum
        self.velocity = {}
        if self.momentum:
            self.velocity = {name: torch.zeros_like(parameter) for name, parameter in named.items()}

    def step(self, learning_rate: float, rows: RowGradient | None) -> None:
        """Apply the gradients; `rows` is that of the parameter that has none of its own."""
        decay(self.named, self.weight_decay, learning_rate)
        with torch.no_grad():
            for name, parameter in self.named.items():
                update = parameter.grad
                if self.momentum:
                    update = self.velocity[name].mul_(self.momentum).add_(update)
                parameter.sub_(update * learning_rate)

    def moments(self) -> dict[str, np.ndarray]:
        """State by neutral name; none without momentum."""
        return {f"velocity/{name}": to_numpy(velocity) for name, velocity in self.velocity.items()}

    def load(self, moments: dict[str, np.ndarray], steps: int) -> None:
        """Take over state after `steps` steps."""
        if self.momentum and steps:
            for name, parameter in self.named.items():
                self.velocity[name] = to_tensor(moments[f"velocity/{name}"].copy(), parameter.device)


OPTIMIZERS = {"adam": Adam, "sgd": SGD}
"""By the spec's `kind`."""
