"""Execution of a module that the user wrote, as the witness of a conversion."""

from __future__ import annotations

import numpy as np

from backends import user_forward
from backends.torch.framework import torch
from core.errors import UserError


def owns(model: object) -> bool:
    """Return whether `model` is a module of this framework."""
    return isinstance(model, torch.nn.Module)


def load_module(model: torch.nn.Module, arrays: dict[str, np.ndarray], where: str) -> None:
    """Load `arrays` into `model` in their dtype, with no missing or unexpected name. Raises UserError."""
    dtype = np.result_type(*arrays.values()).name
    model.to(getattr(torch, dtype))
    own = model.state_dict()
    user_forward.check_names({name: tensor.is_floating_point() for name, tensor in own.items()}, arrays, where)
    user_forward.check_shapes({name: tuple(tensor.shape) for name, tensor in own.items()}, arrays, where)
    with torch.no_grad():
        for name, array in arrays.items():
            own[name].copy_(torch.from_numpy(np.array(array)))


def module_logits(model: torch.nn.Module, ids: np.ndarray, lengths: np.ndarray, where: str) -> tuple[np.ndarray, str]:
    """Return the logits of `model` in evaluation mode, and the call that computed them. Raises UserError.

    `ids` [B, L], `lengths` [B]. The call is `forward(ids, lengths)`, or `forward(ids)` if the former does not work.
    """
    model.eval()
    tensors = torch.from_numpy(ids.copy()), torch.from_numpy(lengths.copy())
    with torch.no_grad():
        output, call = user_forward.first_call(model, model.forward, tensors, where)
    tensor = user_forward.logits_of(output, torch.Tensor)
    if tensor is None:
        raise UserError(f"{where}: {call} returned {type(output).__name__}, expected a tensor or a tuple of tensors")
    return tensor.detach().cpu().numpy(), call
