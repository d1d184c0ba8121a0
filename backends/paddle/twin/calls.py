"""Arguments and results of Paddle's layers in a form that PyTorch's layers share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.paddle.framework import paddle
from backends.paddle.twin.modules import base_class, kind_of
from backends.paddle.twin.parameters import as_array
from core.twin import kinds, routes
from core.twin.recording import Arrays

BLOCKED = -1e4
"""Scores of masked positions are below this."""


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
        with paddle.no_grad():
            return as_array(tensor if self.view is None else self.view(tensor.detach()))


def is_tensor(value: Any) -> bool:
    """Return whether a value is recorded as one array."""
    return isinstance(value, paddle.Tensor)


def floating(tensor: Any) -> bool:
    """Return whether a tensor has floating-point values."""
    return tensor.is_floating_point()


def entries(value: Any, batch_first: bool = True) -> dict[str, Entry]:
    """Return all tensors of nested values by route."""
    return {route: Entry(own) for route, own in routes.flatten(value, is_tensor).items()}


def _padded(tensor: Any, lengths: np.ndarray, batch_first: bool) -> Entry:
    """Return a sequence up to the longest length, with zeros past each length, as PyTorch pads packed sequences."""

    def view(own: Any) -> Any:
        longest = int(lengths.max())
        kept = paddle.to_tensor(np.arange(longest) < lengths[:, None])
        mask = (kept if batch_first else kept.T).unsqueeze(-1).astype(own.dtype)
        cut = own[:, :longest] if batch_first else own[:longest]
        return cut * mask

    return Entry(tensor, view)


def inputs_of(module: paddle.nn.Layer, args: tuple, kwargs: Mapping[str, Any]) -> tuple[dict[str, Entry], Any]:
    """Return the tensors of a call's arguments by route, and the lengths [B] of sequences."""
    kind, settings = kind_of(module)
    given = routes.arguments(type(module).forward.__get__(module), args, kwargs)
    if kind == kinds.ATTENTION:
        return _attention_inputs(module, given), None
    lengths = packed_lengths(given.pop("2", None)) if kind == kinds.RECURRENT else None
    found = entries(given)
    if lengths is not None:
        found["0"] = _padded(found["0"].tensor, lengths, bool(settings["batch_first"]))
    return found, lengths


def packed_lengths(value: Any) -> np.ndarray | None:
    """Return the lengths [B] that a recurrent layer was given."""
    if value is None:
        return None
    return np.array(value.numpy() if is_tensor(value) else value).astype(np.int64)


def outputs_of(module: paddle.nn.Layer, outputs: Any, lengths: np.ndarray | None) -> dict[str, Entry]:
    """Return the tensors of a call's results by route: those of attention are `0` and, averaged over heads, `1`."""
    kind, settings = kind_of(module)
    if kind == kinds.CELL:  # Paddle's cells return h twice: docs/differences.md#cell_results
        return entries(outputs[1])
    if kind == kinds.ATTENTION:
        first = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        found = entries(first[:1])
        weights = first[1] if len(first) > 1 and is_tensor(first[1]) else None
        return found if weights is None else found | {"1": Entry(weights, _mean_of_heads, False)}
    found = entries(outputs)
    if kind == kinds.RECURRENT and hasattr(module, "cell_fw"):
        found = {"0": found["0"]}  # the states of both directions are one array in PyTorch
    if kind == kinds.RECURRENT and lengths is not None:
        found["0"] = _padded(found["0"].tensor, lengths, bool(settings["batch_first"]))
    return found


def _mean_of_heads(weights: Any) -> Any:
    return weights.mean(1) if weights.dim() == 4 else weights


def _attention_inputs(module: paddle.nn.Layer, given: Mapping[str, Any]) -> dict[str, Entry]:
    """Return query, key and value as 0, 1 and 2, and the blocked positions [B, H, L, S] as `mask`."""
    query = given["0"]
    key, value = (query if given.get(at) is None else given[at] for at in ("1", "2"))
    found = {"0": Entry(query), "1": Entry(key), "2": Entry(value)}
    compat = base_class(module).__name__ == "MultiheadAttention"
    padding, mask = (given.get("3"), given.get("5")) if compat else (None, given.get("3"))
    if (padding is None and mask is None) or query.dim() != 3:
        return found
    first = kind_of(module)[1]["batch_first"]
    (batch, targets), sources = (query.shape[:2] if first else query.shape[1::-1]), key.shape[1 if first else 0]
    blocked = np.zeros((batch, module.num_heads, targets, sources), np.bool_)
    if mask is not None:
        own = mask.numpy()
        # Boolean and integer masks name the positions that are kept, in `paddle.compat` those that are blocked.
        own = own < BLOCKED if own.dtype.kind == "f" else own.astype(np.bool_) == compat
        blocked = blocked | (own.reshape(batch, -1, targets, sources) if own.ndim == 3 and compat else own)
    if padding is not None:
        own = padding.numpy()
        blocked = blocked | (own < BLOCKED if own.dtype.kind == "f" else own)[:, None, None]
    return found | {"mask": Entry(paddle.to_tensor(blocked))}


def arguments_of(
    module: paddle.nn.Layer, inputs: Arrays, dtype: str, lengths: np.ndarray | None
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a call, positions and keywords, from recorded inputs: the inverse of `inputs_of`."""
    kind, _ = kind_of(module)
    device = None
    tensors = {route: tensor_of(array, dtype, device) for route, array in inputs.items() if route != "mask"}
    args, kwargs = routes.nest(tensors)
    if kind == kinds.RECURRENT and lengths is not None:
        kwargs["sequence_length"] = paddle.to_tensor(np.array(lengths))
    if kind == kinds.ATTENTION and "mask" in inputs:
        compat = base_class(module).__name__ == "MultiheadAttention"
        blocked = inputs["mask"]
        kept = blocked.reshape(-1, *blocked.shape[2:]) if compat else ~blocked
        kwargs["attn_mask"] = paddle.to_tensor(kept)
    return args, kwargs


def tensor_of(array: np.ndarray, dtype: str, device: Any) -> Any:
    """Return an array as a tensor, floating-point ones in `dtype`."""
    own = paddle.to_tensor(np.array(array))
    return own.astype(dtype) if own.is_floating_point() else own


def used_inside(module: paddle.nn.Layer, outputs: Any) -> set[int]:
    """Return the results that the layer itself also uses: around cells, the last states are outputs."""
    wrapped = kind_of(module)[0] == kinds.RECURRENT and (hasattr(module, "cell") or hasattr(module, "cell_fw"))
    return {id(own) for own in routes.flatten(outputs[1], is_tensor).values()} if wrapped else set()


def apart(outputs: Any, taken: set[int]) -> Any:
    """Return results with copies of the tensors in `taken`, so that both have gradients of their own."""

    def change(own: Any) -> Any:
        return paddle.assign(own) if is_tensor(own) and id(own) in taken and not own.stop_gradient else own

    return outputs if not taken else routes.replace(outputs, change)
