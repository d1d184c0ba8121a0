"""Gradient clipping, decoupled weight decay, Adam and SGD, with neutral state names."""

from __future__ import annotations

import numpy as np

from backends.kernels.training import AdamArrays, EmbeddingAdam
from backends.paddle.fast import RowGradient
from backends.paddle.framework import paddle
from backends.paddle.runtime import to_numpy, to_tensor
from core import spec
from core.schema import of_kind
from core.spec.part_rates import equal_rates
from core.spec.rates import part_of

STATE = {"moment1": "moment1_0", "moment2": "moment2_0"}
"""Names of Adam's state: neutral name, and Paddle's suffix of the parameter name."""


def clip(gradients: list[paddle.Tensor], mode: str, limit: float) -> paddle.Tensor:
    """Clip gradients in place by min(1, limit / norm), or by `value`; return the global norm before clipping.

    No epsilon is added (`torch.nn.utils.clip_grad_norm_` adds 1e-6). For a zero norm the quotient is infinite and the
    factor 1. The norm stays on the device.
    """
    with paddle.no_grad():
        squares = squares_of(gradients)
        total = squares.sum().sqrt()
        if mode == "global":
            scales = [(limit / total).clip(max=1.0)] * len(gradients)
        elif mode == "tensor":
            scales = (limit / squares.sqrt()).clip(max=1.0).unbind()
        elif mode == "value":
            for gradient in gradients:
                gradient.clip_(-limit, limit)
        if mode in ("global", "tensor"):
            for gradient, scale in zip(gradients, scales, strict=True):
                gradient.multiply_(scale)
    return total


def squares_of(gradients: list[paddle.Tensor]) -> paddle.Tensor:
    """Return the sum of squares of each tensor, [tensors]."""
    # `paddle.norm` adds millions of float32 one by one on the CPU: an error of 2e-3, and ten times slower.
    return paddle.stack([gradient.square().sum() for gradient in gradients])


def clip_each(gradients: list[paddle.Tensor], mode: str, limit: float) -> paddle.Tensor:
    """Clip gradients [M, ...] of each model of an ensemble like `clip`.

    Return the norms [tensors, M].
    """
    with paddle.no_grad():
        squares = paddle.stack([gradient.square().reshape([gradient.shape[0], -1]).sum(1) for gradient in gradients])
        if mode == "global":
            scales = (limit / squares.sum(0).sqrt()).clip(max=1.0).expand(squares.shape)
        elif mode == "tensor":
            scales = (limit / squares.sqrt()).clip(max=1.0)
        elif mode == "value":
            for gradient in gradients:
                gradient.clip_(-limit, limit)
        if mode in ("global", "tensor"):
            # All are scaled before any is written: with one token per model, two biases of a layer share one gradient.
            scaled = [
                gradient * scale.reshape([-1] + [1] * (gradient.ndim - 1))
                for gradient, scale in zip(gradients, scales.unbind(), strict=True)
            ]
            for gradient, result in zip(gradients, scaled, strict=True):
                paddle.assign(result, gradient)
        return squares.sqrt()


def decay(named: dict[str, paddle.Tensor], weight_decay: float, rates: dict[str, float]) -> None:
    """Apply decoupled weight decay before the step, never to biases. Row 0 (PAD) stays zero.

    `rates` are the learning rates by part of the model.
    """
    if weight_decay == 0.0:
        return
    with paddle.no_grad():
        for name, parameter in named.items():
            if "bias" not in name:
                parameter.scale_(1.0 - rates[part_of(name)] * weight_decay)


class Adam:
    """The framework's Adam; `RowAdam` for a parameter with a gradient by rows."""

    def __init__(self, training: spec.Training, named: dict[str, paddle.Tensor], by_rows: tuple[str, ...]):
        """Create the optimizer. `by_rows`: names of parameters with gradients by rows."""
        optimizer = of_kind(training.optimizer, spec.Adam)
        self.named = named
        self.rowwise = {name: RowAdam(optimizer, named[name]) for name in by_rows}
        self.dense = {name: parameter for name, parameter in named.items() if name not in by_rows}
        self.weight_decay = optimizer.weight_decay
        self.betas = (optimizer.beta1, optimizer.beta2)
        # One for all parts of equal rates: a factor of a parameter would multiply in float32.
        groups = [
            (parts, [own for name, own in self.dense.items() if part_of(name) in parts])
            for parts in equal_rates(training)
        ]
        self.natives = {
            parts[0]: paddle.optimizer.Adam(
                learning_rate=optimizer.learning_rate,
                beta1=optimizer.beta1,
                beta2=optimizer.beta2,
                epsilon=optimizer.epsilon,
                parameters=own,
            )
            for parts, own in groups
            if own
        }
        """The framework's optimizers, by the first of the parts that have their rate."""

    def step(self, rates: dict[str, float], rows: dict[str, RowGradient]) -> None:
        """Update the parameters: `rates` by part of the model, `rows` the gradients by rows, by name."""
        decay(self.named, self.weight_decay, rates)
        for part, native in self.natives.items():
            native.set_lr(rates[part])
            native.step()
        for name, own in self.rowwise.items():
            own.step(rates[part_of(name)], rows[name])

    def moments(self) -> dict[str, np.ndarray]:
        """Return the state by neutral name, zeros before the first step."""
        state, found = {}, {}
        for native in self.natives.values():
            state |= native.state_dict()
        for kind in STATE:
            for name, parameter in self.named.items():
                tensor = state.get(f"{parameter.name}_{STATE[kind]}")
                if name not in self.dense:
                    tensor = self.rowwise[name].state[STATE[kind]]
                found[f"{kind}/{name}"] = to_numpy(paddle.zeros_like(parameter) if tensor is None else tensor)
        return found

    def load(self, moments: dict[str, np.ndarray], steps: int) -> None:
        """Load the state after `steps` steps."""
        if steps == 0:
            for own in self.rowwise.values():
                own.restart()
            return
        state = {}
        for name, parameter in self.named.items():
            if name not in self.dense:
                self.rowwise[name].load(*(moments[f"{kind}/{name}"] for kind in STATE), steps)
                continue
            for kind in STATE:
                state[f"{parameter.name}_{STATE[kind]}"] = to_tensor(moments[f"{kind}/{name}"], parameter.place)
            # Paddle stores the powers of beta for the *next* step, computed one product at a time in the precision of
            # the parameter.
            for number, beta in enumerate(self.betas, start=1):
                powers = np.full(steps + 1, beta, dtype=moments[f"moment1/{name}"].dtype)
                product = np.multiply.accumulate(powers)[-1:]
                state[f"{parameter.name}_beta{number}_pow_acc_0"] = to_tensor(product, parameter.place)
        for native in self.natives.values():
            native.set_state_dict(dict(state))


class RowAdam:
    """Adam for an embedding [V, E] with a gradient by rows (`backends/kernels/training.py`)."""

    def __init__(self, optimizer: spec.Adam, parameter: paddle.Tensor):
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
        place = self.parameter.place
        moments = zip(STATE.values(), (moment1, moment2), strict=True)
        # Copies, as the kernel updates this memory.
        self.state = {name: to_tensor(moment.copy(), place) for name, moment in moments}
        self.kernel = kernel


class SGD:
    """SGD, `v = momentum * v + g; p = p - lr * v`.

    It replaces the frameworks' SGD, as Paddle's Momentum rounds its coefficient to float32.
    """

    def __init__(self, training: spec.Training, named: dict[str, paddle.Tensor], by_rows: tuple[str, ...]):
        """Create the optimizer. `by_rows` is empty, as all gradients are dense."""
        optimizer = of_kind(training.optimizer, spec.SGD)
        self.named = named
        self.weight_decay = optimizer.weight_decay
        self.momentum = optimizer.momentum
        self.velocity = {}
        if self.momentum:
            self.velocity = {name: paddle.zeros_like(parameter) for name, parameter in named.items()}

    def step(self, rates: dict[str, float], rows: dict[str, RowGradient]) -> None:
        """Update the parameters: `rates` by part of the model, `rows` the gradients by rows, by name."""
        decay(self.named, self.weight_decay, rates)
        with paddle.no_grad():
            for name, parameter in self.named.items():
                update = parameter.grad
                if self.momentum:
                    update = self.velocity[name].scale_(self.momentum).add_(update)
                parameter.subtract_(update * rates[part_of(name)])

    def moments(self) -> dict[str, np.ndarray]:
        """Return the state by neutral name, empty without momentum."""
        return {f"velocity/{name}": to_numpy(velocity) for name, velocity in self.velocity.items()}

    def load(self, moments: dict[str, np.ndarray], steps: int) -> None:
        """Load the state after `steps` steps."""
        if self.momentum and steps:
            for name, parameter in self.named.items():
                self.velocity[name] = to_tensor(moments[f"velocity/{name}"], parameter.place)


OPTIMIZERS = {"adam": Adam, "sgd": SGD}
"""Optimizer classes by `kind`."""
