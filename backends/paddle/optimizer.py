"""Clipping, decoupled weight decay, the framework's Adam and our SGD, with their state under neutral names."""

from __future__ import annotations

import numpy as np

from backends.paddle.framework import paddle
from backends.paddle.runtime import to_numpy, to_tensor
from core import spec

STATE = {"moment1": "moment1_0", "moment2": "moment2_0"}
"""Neutral name of each kind of Adam's state, and the framework's, which it puts after the parameter's own name."""


def clip(gradients: list[paddle.Tensor], mode: str, limit: float) -> paddle.Tensor:
    """Scale gradients in place by min(1, limit / norm) and return the global norm before that, on the device.

    No epsilon is added (`torch.nn.utils.clip_grad_norm_` adds 1e-6). A zero norm divides to infinity, and min takes 1.
    """
    with paddle.no_grad():
        # Not `paddle.norm`: on the CPU it adds millions of float32 one by one, wrong by 2e-3 and ten times slower.
        squares = paddle.stack([gradient.square().sum() for gradient in gradients])
        norms, total = squares.sqrt(), squares.sum().sqrt()
        if mode == "global":
            scales = [(limit / total).clip(max=1.0)] * len(gradients)
        elif mode == "tensor":
            scales = (limit / norms).clip(max=1.0).unbind()
        if mode != "none":
            for gradient, scale in zip(gradients, scales, strict=True):
                gradient.multiply_(scale)
    return total


def decay(named: dict[str, paddle.Tensor], weight_decay: float, learning_rate: float) -> None:
    """Decoupled weight decay, on the values before the step, never on biases. Row 0 of the embedding stays zero."""
    if weight_decay == 0.0:
        return
    with paddle.no_grad():
        for name, parameter in named.items():
            if "bias" not in name:
                parameter.scale_(1.0 - learning_rate * weight_decay)


class Adam:
    """The framework's Adam."""

    def __init__(self, optimizer: spec.Adam, named: dict[str, paddle.Tensor]):
        self.named = named
        self.weight_decay = optimizer.weight_decay
        self.betas = (optimizer.beta1, optimizer.beta2)
        self.native = paddle.optimizer.Adam(
            learning_rate=optimizer.learning_rate,
            beta1=optimizer.beta1,
            beta2=optimizer.beta2,
            epsilon=optimizer.epsilon,
            parameters=list(named.values()),
        )

    def step(self, learning_rate: float) -> None:
        """Apply the gradients."""
        decay(self.named, self.weight_decay, learning_rate)
        self.native.set_lr(learning_rate)
        self.native.step()

    def moments(self) -> dict[str, np.ndarray]:
        """State by neutral name, zeros before the first step."""
        state, found = self.native.state_dict(), {}
        for kind in STATE:
            for name, parameter in self.named.items():
                tensor = state.get(f"{parameter.name}_{STATE[kind]}")
                found[f"{kind}/{name}"] = to_numpy(paddle.zeros_like(parameter) if tensor is None else tensor)
        return found

    def load(self, moments: dict[str, np.ndarray], steps: int) -> None:
        """Take over state after `steps` steps."""
        if steps == 0:
            return
        state = {}
        for name, parameter in self.named.items():
            for kind in STATE:
                state[f"{parameter.name}_{STATE[kind]}"] = to_tensor(moments[f"{kind}/{name}"], parameter.place)
            # Paddle keeps the powers that the *next* step divides by. As there: one product at a time, in the
            # parameter's precision.
            for number, beta in enumerate(self.betas, start=1):
                powers = np.full(steps + 1, beta, dtype=moments[f"moment1/{name}"].dtype)
                product = np.multiply.accumulate(powers)[-1:]
                state[f"{parameter.name}_beta{number}_pow_acc_0"] = to_tensor(product, parameter.place)
        self.native.set_state_dict(state)


class SGD:
    """`v = momentum * v + g; p = p - lr * v`. By hand: Paddle's Momentum rounds its coefficient to float32."""

    def __init__(self, optimizer: spec.SGD, named: dict[str, paddle.Tensor]):
        self.named = named
        self.weight_decay = optimizer.weight_decay
        self.momentum = optimizer.momentum
        self.velocity = {}
        if self.momentum:
            self.velocity = {name: paddle.zeros_like(parameter) for name, parameter in named.items()}

    def step(self, learning_rate: float) -> None:
        """Apply the gradients."""
        decay(self.named, self.weight_decay, learning_rate)
        with paddle.no_grad():
            for name, parameter in self.named.items():
                update = parameter.grad
                if self.momentum:
                    update = self.velocity[name].scale_(self.momentum).add_(update)
                parameter.subtract_(update * learning_rate)

    def moments(self) -> dict[str, np.ndarray]:
        """State by neutral name; none without momentum."""
        return {f"velocity/{name}": to_numpy(velocity) for name, velocity in self.velocity.items()}

    def load(self, moments: dict[str, np.ndarray], steps: int) -> None:
        """Take over state after `steps` steps."""
        if self.momentum and steps:
            for name, parameter in self.named.items():
                self.velocity[name] = to_tensor(moments[f"velocity/{name}"], parameter.place)


OPTIMIZERS = {"adam": Adam, "sgd": SGD}
"""By the spec's `kind`."""
