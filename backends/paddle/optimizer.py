"""Clipping, decoupled weight decay, and the framework's Adam and SGD with their state under neutral names."""

from __future__ import annotations

import numpy as np

from backends.paddle.framework import paddle
from backends.paddle.runtime import to_numpy
from core import spec
from core.parameters import moment_kinds

STATE = {"moment1": "moment1_0", "moment2": "moment2_0", "velocity": "velocity_0"}
"""Neutral name of each kind of state, and the framework's, which it puts after the parameter's own name."""


def clip(gradients: list[paddle.Tensor], mode: str, limit: float) -> paddle.Tensor:
    """Scale gradients in place by min(1, limit / norm) and return the global norm before that, on the device.

    No epsilon is added (`torch.nn.utils.clip_grad_norm_` adds 1e-6). A zero norm divides to infinity, and min takes 1.
    """
    with paddle.no_grad():
        norms = paddle.stack([paddle.norm(gradient) for gradient in gradients])
        total = paddle.norm(norms)
        if mode == "global":
            scales = [(limit / total).clip(max=1.0)] * len(gradients)
        elif mode == "tensor":
            scales = (limit / norms).clip(max=1.0).unbind()
        if mode != "none":
            for gradient, scale in zip(gradients, scales):
                gradient.multiply_(scale)
    return total


class Optimizer:
    """One of the spec's optimisers over named parameters."""

    def __init__(self, optimizer: spec.Optimizer, named: dict[str, paddle.Tensor]):
        self.named = named
        self.optimizer = optimizer
        self.kinds = moment_kinds(optimizer)
        self.weight_decay = optimizer.weight_decay
        parameters = list(named.values())
        if isinstance(optimizer, spec.Adam):
            self.native = paddle.optimizer.Adam(
                learning_rate=optimizer.learning_rate,
                beta1=optimizer.beta1,
                beta2=optimizer.beta2,
                epsilon=optimizer.epsilon,
                parameters=parameters,
            )
        elif optimizer.momentum:
            self.native = paddle.optimizer.Momentum(
                learning_rate=optimizer.learning_rate, momentum=optimizer.momentum, parameters=parameters
            )
        else:
            self.native = paddle.optimizer.SGD(learning_rate=optimizer.learning_rate, parameters=parameters)

    def step(self, learning_rate: float) -> None:
        """Apply the gradients. Decay comes first, on the old values, and never on biases."""
        if self.weight_decay:
            with paddle.no_grad():
                for name, parameter in self.named.items():
                    if "bias" not in name:
                        parameter.scale_(1.0 - learning_rate * self.weight_decay)
        self.native.set_lr(learning_rate)
        self.native.step()

    def moments(self) -> dict[str, np.ndarray]:
        """State by neutral name, zeros before the first step."""
        state, found = self.native.state_dict(), {}
        for kind in self.kinds:
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
            for kind in self.kinds:
                state[f"{parameter.name}_{STATE[kind]}"] = paddle.to_tensor(moments[f"{kind}/{name}"])
            if "moment1" in self.kinds:
                # Paddle keeps the products that the *next* step divides by, as it has them after `steps` steps:
                # one multiplication at a time, in the parameter's precision.
                for number, beta in ((1, self.optimizer.beta1), (2, self.optimizer.beta2)):
                    powers = np.full(steps + 1, beta, dtype=moments[f"moment1/{name}"].dtype)
                    product = np.multiply.accumulate(powers)[-1:]
                    state[f"{parameter.name}_beta{number}_pow_acc_0"] = paddle.to_tensor(product)
        self.native.set_state_dict(state)
