"""Clipping, decoupled weight decay, and the framework's Adam and SGD with their state under neutral names."""

from __future__ import annotations

import numpy as np

from backends.torch.framework import torch
from backends.torch.runtime import to_numpy, to_tensor
from core import spec
from core.parameters import moment_kinds

STATE = {"moment1": "exp_avg", "moment2": "exp_avg_sq", "velocity": "momentum_buffer"}
"""Neutral name of each kind of state, and the framework's."""


def clip(gradients: list[torch.Tensor], mode: str, limit: float) -> torch.Tensor:
    """Scale gradients in place by min(1, limit / norm) and return the global norm before that, on the device.

    No epsilon is added (`torch.nn.utils.clip_grad_norm_` adds 1e-6). A zero norm divides to infinity, and min takes 1.
    """
    with torch.no_grad():
        norms = torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients])
        total = torch.linalg.vector_norm(norms)
        if mode == "global":
            scales = (limit / total).clamp(max=1.0).expand(len(gradients))
        elif mode == "tensor":
            scales = (limit / norms).clamp(max=1.0)
        if mode != "none":
            for gradient, scale in zip(gradients, scales):
                gradient.mul_(scale)
    return total


class Optimizer:
    """One of the spec's optimisers over named parameters."""

    def __init__(self, optimizer: spec.Optimizer, named: dict[str, torch.nn.Parameter]):
        self.named = named
        self.kinds = moment_kinds(optimizer)
        self.weight_decay = optimizer.weight_decay
        parameters = list(named.values())
        if isinstance(optimizer, spec.Adam):
            self.native = torch.optim.Adam(
                parameters,
                lr=optimizer.learning_rate,
                betas=(optimizer.beta1, optimizer.beta2),
                eps=optimizer.epsilon,
                fused=True,
            )
        else:
            self.native = torch.optim.SGD(
                parameters, lr=optimizer.learning_rate, momentum=optimizer.momentum, fused=True
            )

    def step(self, learning_rate: float) -> None:
        """Apply the gradients. Decay comes first, on the old values, and never on biases."""
        if self.weight_decay:
            with torch.no_grad():
                for name, parameter in self.named.items():
                    if "bias" not in name:
                        parameter.mul_(1.0 - learning_rate * self.weight_decay)
        for group in self.native.param_groups:
            group["lr"] = learning_rate
        self.native.step()

    def moments(self) -> dict[str, np.ndarray]:
        """State by neutral name, zeros before the first step."""
        found = {}
        for kind in self.kinds:
            for name, parameter in self.named.items():
                tensor = self.native.state[parameter].get(STATE[kind])
                found[f"{kind}/{name}"] = to_numpy(torch.zeros_like(parameter) if tensor is None else tensor)
        return found

    def load(self, moments: dict[str, np.ndarray], steps: int) -> None:
        """Take over state after `steps` steps."""
        self.native.state.clear()
        if steps == 0:
            return
        for name, parameter in self.named.items():
            state = self.native.state[parameter]
            for kind in self.kinds:
                state[STATE[kind]] = to_tensor(moments[f"{kind}/{name}"].copy(), parameter.device)
            if "moment1" in self.kinds:
                # Fused Adam keeps its step count beside the parameter, in float32.
                state["step"] = torch.tensor(float(steps), dtype=torch.float32, device=parameter.device)
