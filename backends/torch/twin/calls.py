"""Arguments and results of PyTorch's layers in a form that Paddle's layers share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.torch.framework import torch
from backends.torch.twin.modules import kind_of
from backends.torch.twin.parameters import as_array
from core.twin import kinds, routes
from core.twin.recording import Arrays

BLOCKED = -1e4
"""Scores of masked positions are below this."""
Packed = torch.nn.utils.rnn.PackedSequence


@dataclass(frozen=True)
class Entry:
    """A tensor of a call, and how its values are recorded."""

    tensor: Any
    view: Callable[[Any], Any] | None = None
    """Change of the values, applied to gradients too; None for the tensor as it is."""
    watched: bool = True
    """False if gradients cannot be compared: Paddle's attention weights are also used inside, PyTorch's are not."""

    def array(self, tensor: Any) -> np.ndarray:
        """Return the values of `tensor`, the entry's own or its gradient."""
        with torch.no_grad():
            return as_array(tensor if self.view is None else self.view(tensor.detach()))


def is_tensor(value: Any) -> bool:
    """Return whether a value is recorded as one array."""
    return isinstance(value, (torch.Tensor, Packed))


def floating(tensor: Any) -> bool:
    """Return whether a tensor has floating-point values."""
    return tensor.is_floating_point()


def entries(value: Any, batch_first: bool = True) -> dict[str, Entry]:
    """Return all tensors of nested values by route; packed sequences are padded with zeros."""
    found = {}
    for route, own in routes.flatten(value, is_tensor).items():
        found[route] = _padded(own, None, batch_first) if isinstance(own, Packed) else Entry(own)
    return found


def _padded(tensor: Packed, lengths: np.ndarray | None, batch_first: bool) -> Entry:
    """Return a packed sequence up to its longest length, with zeros past each length."""

    def view(data: Any) -> Any:
        own = Packed(data, tensor.batch_sizes, tensor.sorted_indices, tensor.unsorted_indices)
        return torch.nn.utils.rnn.pad_packed_sequence(own, batch_first)[0]

    return Entry(tensor.data, view)


def packed_lengths(value: Any) -> np.ndarray | None:
    """Return the lengths [B] of a packed sequence."""
    if not isinstance(value, Packed):
        return None
    return torch.nn.utils.rnn.pad_packed_sequence(value)[1].numpy().copy()


def inputs_of(module: torch.nn.Module, args: tuple, kwargs: Mapping[str, Any]) -> tuple[dict[str, Entry], Any]:
    """Return the tensors of a call's arguments by route, and the lengths [B] of sequences."""
    kind, settings = kind_of(module)
    given = {str(at): own for at, own in enumerate(args)} | dict(kwargs)
    if not isinstance(module, torch.jit.ScriptModule):  # a compiled module does not tell the names of its arguments
        given = routes.arguments(type(module).forward.__get__(module), args, kwargs)
    if kind == kinds.ATTENTION:
        return _attention_inputs(module, given), None
    lengths = packed_lengths(given.get("0")) if kind == kinds.RECURRENT else None
    return entries(given, bool(settings.get("batch_first", True))), lengths


def outputs_of(module: torch.nn.Module, outputs: Any, lengths: np.ndarray | None) -> dict[str, Entry]:
    """Return the tensors of a call's results by route: those of attention are `0` and, averaged over heads, `1`."""
    kind, settings = kind_of(module)
    found = entries(outputs, bool(settings.get("batch_first", True)))
    if kind == kinds.ATTENTION and "1" in found:
        found["1"] = Entry(found["1"].tensor, _mean_of_heads, False)
    return found


def _mean_of_heads(weights: Any) -> Any:
    return weights.mean(1) if weights.dim() == 4 else weights


def _attention_inputs(module: torch.nn.Module, given: Mapping[str, Any]) -> dict[str, Entry]:
    """Return query, key and value as 0, 1 and 2, and the blocked positions [B, H, L, S] as `mask`."""
    query, key = given["0"], given["1"]
    found = {str(at): Entry(given[str(at)]) for at in range(3)}
    padding, mask = given.get("3"), given.get("5")
    if (padding is None and mask is None) or query.dim() != 3:
        return found
    first = kind_of(module)[1]["batch_first"]
    (batch, targets), sources = (query.shape[:2] if first else query.shape[1::-1]), key.shape[1 if first else 0]
    blocked = torch.zeros(batch, module.num_heads, targets, sources, dtype=torch.bool, device=query.device)
    if mask is not None:
        own = mask if mask.dtype == torch.bool else mask < BLOCKED
        blocked = blocked | (own.view(batch, -1, targets, sources) if own.dim() == 3 else own)
    if padding is not None:
        blocked = blocked | (padding if padding.dtype == torch.bool else padding < BLOCKED)[:, None, None]
    return found | {"mask": Entry(blocked)}


def arguments_of(
    module: torch.nn.Module, inputs: Arrays, dtype: str, lengths: np.ndarray | None
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a call, positions and keywords, from recorded inputs: the inverse of `inputs_of`."""
    kind, settings = kind_of(module)
    device = next((own.device for own in module.parameters()), torch.device("cpu"))
    tensors = {route: tensor_of(array, dtype, device) for route, array in inputs.items() if route != "mask"}
    args, kwargs = routes.nest(tensors)
    if kind == kinds.RECURRENT and lengths is not None:
        args[0] = torch.nn.utils.rnn.pack_padded_sequence(
            args[0], torch.from_numpy(np.array(lengths)), bool(settings["batch_first"]), enforce_sorted=False
        )
    if kind == kinds.ATTENTION and "mask" in inputs:
        batch, heads, targets, sources = inputs["mask"].shape
        kwargs["attn_mask"] = torch.from_numpy(inputs["mask"].reshape(batch * heads, targets, sources)).to(device)
    return args, kwargs


def tensor_of(array: np.ndarray, dtype: str, device: Any) -> Any:
    """Return an array as a tensor, floating-point ones in `dtype`."""
    own = torch.from_numpy(np.array(array)).to(device)
    return own.to(getattr(torch, dtype)) if own.is_floating_point() else own


def used_inside(module: torch.nn.Module, outputs: Any) -> set[int]:
    """Return the results that the layer itself also uses: none of PyTorch's."""
    return set()


def apart(outputs: Any, taken: set[int]) -> Any:
    """Return results with copies of the tensors in `taken`, so that both have gradients of their own."""

    def change(own: Any) -> Any:
        return own.view_as(own) if isinstance(own, torch.Tensor) and id(own) in taken and own.requires_grad else own

    return outputs if not taken else routes.replace(outputs, change)
