"""Gradient clipping, decoupled weight decay, Adam and SGD, with neutral state names."""

from __future__ import annotations

import numpy as np

from backends.kernels.training import AdamArrays, EmbeddingAdam
from backends.torch.fast import RowGradient
from backends.torch.framework import _EagerAdam, torch
from backends.torch.runtime import to_numpy, to_tensor
from core import spec
from core.schema import of_kind
from core.spec.part_rates import equal_rates
from core.spec.rates import part_of

STATE = {"moment1": "exp_avg", "moment2": "exp_avg_sq"}
"""Names of Adam's state: neutral name and torch's name."""


def clip(gradients: list[torch.Tensor], mode: str, limit: float) -> torch.Tensor:
    """Clip gradients in place by min(1, limit / norm), or by `value`; return the global norm before clipping.

    No epsilon is added (`torch.nn.utils.clip_grad_norm_` adds 1e-6). For a zero norm the quotient is infinite and the
    factor 1. The norm stays on the device.
    """
    with torch.no_grad():
        squares = squares_of(gradients)
        total = squares.sum().sqrt()
        if mode == "global":
            torch._foreach_mul_(gradients, (limit / total).clamp(max=1.0))
        elif mode == "tensor":
            for gradient, scale in zip(gradients, (limit / squares.sqrt()).clamp(max=1.0), strict=True):
                gradient.mul_(scale)
        elif mode == "value":
            torch._foreach_clamp_min_(gradients, -limit)
            torch._foreach_clamp_max_(gradients, limit)
    return total


def squares_of(gradients: list[torch.Tensor]) -> torch.Tensor:
    """Return the sum of squares of each tensor, [tensors]."""
    if gradients[0].device.type != "cpu":
        # One GPU operation instead of two per tensor. On the CPU its sums of millions of float32 have errors of 1e-4.
        return torch.stack(torch._foreach_norm(gradients)).square()
    return torch.stack([gradient.square().sum() for gradient in gradients])


def clip_each(gradients: list[torch.Tensor], mode: str, limit: float) -> torch.Tensor:
    """Clip gradients [M, ...] of each model of an ensemble like `clip`.

    Return the norms [tensors, M].
    """
    with torch.no_grad():
        squares = torch.stack([gradient.square().reshape(gradient.shape[0], -1).sum(1) for gradient in gradients])
        if mode == "global":
            scales = (limit / squares.sum(0).sqrt()).clamp(max=1.0).expand(squares.shape)
        elif mode == "tensor":
            scales = (limit / squares.sqrt()).clamp(max=1.0)
        elif mode == "value":
            for gradient in gradients:
                gradient.clamp_(-limit, limit)
        if mode in ("global", "tensor"):
            # All are scaled before any is written: with one token per model, two biases of a layer share one gradient.
            scaled = [
                gradient * scale.reshape([-1] + [1] * (gradient.dim() - 1))
                for gradient, scale in zip(gradients, scales, strict=True)
            ]
            for gradient, result in zip(gradients, scaled, strict=True):
                gradient.copy_(result)
        return squares.sqrt()


def decay(named: dict[str, torch.nn.Parameter], weight_decay: float, rates: dict[str, float]) -> None:
    """Apply decoupled weight decay before the step, never to biases. Row 0 (PAD) stays zero.

    `rates` are the learning rates by part of the model.
    """
    if weight_decay == 0.0:
        return
    with torch.no_grad():
        for name, parameter in named.items():
            if "bias" not in name:
                parameter.mul_(1.0 - rates[part_of(name)] * weight_decay)


class Adam:
    """The framework's Adam; `RowAdam` for a parameter with a gradient by rows."""

    def __init__(self, training: spec.Training, named: dict[str, torch.nn.Parameter], by_rows: tuple[str, ...]):
        """Create the optimizer. `by_rows`: names of parameters with gradients by rows."""
        optimizer = of_kind(training.optimizer, spec.Adam)
        self.named = named
        self.rowwise = {name: RowAdam(optimizer, named[name]) for name in by_rows}
        self.dense = {name: parameter for name, parameter in named.items() if name not in by_rows}
        self.weight_decay = optimizer.weight_decay
        # One group for all parts of equal rates: by default the framework updates all parameters at once.
        groups = [
            (parts, [own for name, own in self.dense.items() if part_of(name) in parts])
            for parts in equal_rates(training)
        ]
        self.native = _EagerAdam(
            [{"params": own, "part": parts[0]} for parts, own in groups if own],
            lr=optimizer.learning_rate,
            betas=(optimizer.beta1, optimizer.beta2),
            eps=optimizer.epsilon,
            fused=True,
        )

    def step(self, rates: dict[str, float], rows: dict[str, RowGradient]) -> None:
        """Update the parameters: `rates` by part of the model, `rows` the gradients by rows, by name."""
        decay(self.named, self.weight_decay, rates)
        for group in self.native.param_groups:
            group["lr"] = rates[group["part"]]
        self.native.step()
        for name, own in self.rowwise.items():
            own.step(rates[part_of(name)], rows[name])

    def moments(self) -> dict[str, np.ndarray]:
        """Return the state by neutral name, zeros before the first step."""
        found = {}
        for kind in STATE:
            for name, parameter in self.named.items():
                state = self.native.state[parameter] if name in self.dense else self.rowwise[name].state
                tensor = state.get(STATE[kind])
                found[f"{kind}/{name}"] = to_numpy(torch.zeros_like(parameter) if tensor is None else tensor)
        return found

    def load(self, moments: dict[str, np.ndarray], steps: int) -> None:
        """Load the state after `steps` steps."""
        self.native.state.clear()
        if steps == 0:
            for own in self.rowwise.values():
                own.restart()
            return
        for name, parameter in self.named.items():
            if name not in self.dense:
                self.rowwise[name].load(*(moments[f"{kind}/{name}"] for kind in STATE), steps)
                continue
            state = self.native.state[parameter]
            for kind in STATE:
                # A copy, as the framework updates this memory.
                state[STATE[kind]] = to_tensor(moments[f"{kind}/{name}"].copy(), parameter.device)
            # Fused Adam stores its step count in float32 on the device of the parameter.
            state["step"] = torch.tensor(float(steps), dtype=torch.float32, device=parameter.device)


class RowAdam:
    """Adam for an embedding [V, E] with a gradient by rows (`backends/kernels/training.py`)."""

    def __init__(self, optimizer: spec.Adam, parameter: torch.nn.Parameter):
        self.optimizer, self.parameter = optimizer, parameter
        self.restart()

    def restart(self) -> None:
        """Reset the state to that before the first step."""
        self.load(*(np.zeros(tuple(self.parameter.shape), self.numpy_dtype()) for _ in STATE), 0)

    def numpy_dtype(self) -> str:
        return str(self.parameter.dtype).rpartition(".")[2]

    def step(self, learning_rate: float, rows: RowGradient) -> None:
        arrays = AdamArrays(self.parameter, *self.state.values())
        self.kernel.step(arrays, rows.rows, rows.values, learning_rate)

    def load(self, moment1: np.ndarray, moment2: np.ndarray, steps: int) -> None:
        kernel = EmbeddingAdam(self.optimizer, tuple(self.parameter.shape), self.numpy_dtype() == "float64")
        kernel.load(moment1, moment2, steps)
        place = self.parameter.device
        moments = zip(STATE.values(), (moment1, moment2), strict=True)
        # Copies, as the kernel updates this memory.
        self.state = {name: to_tensor(moment.copy(), place) for name, moment in moments}
        self.kernel = kernel


class SGD:
    """SGD, `v = momentum * v + g; p = p - lr * v`.

    It replaces the frameworks' SGD, as Paddle's Momentum rounds its coefficient to float32.
    """

    def __init__(self, training: spec.Training, named: dict[str, torch.nn.Parameter], by_rows: tuple[str, ...]):
        """Create the optimizer. `by_rows` is empty, as all gradients are dense."""
        optimizer = of_kind(training.optimizer, spec.SGD)
        self.named = named
        self.weight_decay = optimizer.weight_decay
        self.momentum = optimizer.momentum
        self.velocity = {}
        if self.momentum:
            self.velocity = {name: torch.zeros_like(parameter) for name, parameter in named.items()}

    def step(self, rates: dict[str, float], rows: dict[str, RowGradient]) -> None:
        """Update the parameters: `rates` by part of the model, `rows` the gradients by rows, by name."""
        decay(self.named, self.weight_decay, rates)
        with torch.no_grad():
            for name, parameter in self.named.items():
                update = parameter.grad
                if self.momentum:
                    update = self.velocity[name].mul_(self.momentum).add_(update)
                parameter.sub_(update * rates[part_of(name)])

    def moments(self) -> dict[str, np.ndarray]:
        """Return the state by neutral name, empty without momentum."""
        return {f"velocity/{name}": to_numpy(velocity) for name, velocity in self.velocity.items()}

    def load(self, moments: dict[str, np.ndarray], steps: int) -> None:
        """Load the state after `steps` steps."""
        if self.momentum and steps:
            for name, parameter in self.named.items():
                self.velocity[name] = to_tensor(moments[f"velocity/{name}"].copy(), parameter.device)


OPTIMIZERS = {"adam": Adam, "sgd": SGD}
"""Optimizer classes by `kind`."""
