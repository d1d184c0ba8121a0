"""Parameters and buffers of a PyTorch model by neutral name, in the neutral layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.torch.framework import torch
from backends.torch.twin.modules import kind_of, walk, weight_norms
from core.errors import UserError
from core.twin import kinds
from core.twin.recording import Parameter
from core.twin.weight_norm import norm_except, normalized

EXACT = "exact_float64_values"
"""Attribute of a tensor with the values that were written, before its own precision rounded them."""
PROJECTIONS = ("q", "k", "v")
STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True)
class Slot:
    """A parameter or buffer of a model: a tensor, or a part of one."""

    name: str
    own_name: str
    module: str
    role: str
    tensor: Any
    part: slice | None = None
    """Rows of a fused tensor that belong to this parameter."""
    transposed: bool = False
    buffer: bool = False
    tied_to: str = ""
    shape: tuple[int, ...] | None = None
    """Shape in the neutral layout if it is another one."""
    norm: tuple[Any, Any, int | None] | None = None
    """Magnitude, direction and axis of a normalized weight."""

    def neutral(self, array: np.ndarray) -> np.ndarray:
        """Return the values of the parameter in the neutral layout from an array of the whole tensor."""
        own = array if self.part is None else array[self.part]
        own = own if self.shape is None else own.reshape(self.shape)
        return own.T if self.transposed else own

    def values(self) -> np.ndarray:
        """Return the values in the neutral layout."""
        if self.norm is None:
            return self.neutral(as_array(self.tensor))
        magnitude, direction, axis = self.norm
        return self.neutral(normalized(as_array(magnitude), as_array(direction), axis))

    @property
    def trainable(self) -> bool:
        """Return whether training changes the values."""
        return not self.buffer and self.tensor.requires_grad


def as_array(tensor: Any) -> np.ndarray:
    """Return a copy of a tensor as an array."""
    own = tensor.detach()
    own = own.to_dense() if own.is_sparse else own
    return (own.float() if own.dtype in (torch.bfloat16, torch.float16) else own).cpu().numpy().copy()


def slots(model: torch.nn.Module) -> list[Slot]:
    """Return all parameters and persistent buffers of a model, parameters of a module before its buffers."""
    found: list[Slot] = []
    first: dict[tuple, str] = {}
    for path, module in walk(model).items():
        for own in held(module, path):
            if isinstance(own.tensor, torch.nn.parameter.UninitializedTensorMixin):
                raise UserError(f"{own.name}: {type(module).__name__} has no sizes yet: call the model once before")
            part = (None, None) if own.part is None else (own.part.start, own.part.stop)
            key = (own.tensor.data_ptr(), tuple(own.tensor.shape), own.tensor.stride(), part)
            tied = first.get(key, "") if own.tensor.numel() and not own.buffer else ""
            first.setdefault(key, own.name)
            found.append(Slot(**{**vars(own), "tied_to": tied}))
    return found


def held(module: torch.nn.Module, path: str) -> Iterator[Slot]:
    """Yield parameters and buffers of one module, of a leaf also those inside."""
    kind, _ = kind_of(module)
    start = f"{path}." if path else ""
    norms = weight_norms(module)
    parts = {id(tensor) for norm in norms.values() for tensor in norm[:2]}
    turned = transposed_names(module, kind)
    for name, (magnitude, direction, axis) in norms.items():
        norm = (magnitude, direction, axis)
        yield Slot(f"{start}{name}", f"{start}{name}", path, name, direction, None, name in turned, norm=norm)
    for own_name, name, tensor in own_parameters(module, kind):
        if id(tensor) in parts:
            continue
        for role, part in roles(name, tensor, kind):
            buffer = role in STATISTICS and kind == kinds.BATCH_NORM
            yield Slot(f"{start}{role}", f"{start}{own_name}", path, role, tensor, part, name in turned, buffer)
    saved = module.state_dict(keep_vars=True)
    for name, tensor in module.named_buffers(recurse=kind != kinds.CONTAINER):
        if name in saved and not name.endswith("num_batches_tracked"):
            yield Slot(f"{start}{name}", f"{start}{name}", path, name, tensor, buffer=True)


def own_parameters(module: torch.nn.Module, kind: str) -> Iterator[tuple[str, str, Any]]:
    """Yield own name, name in PyTorch's layer and tensor of each parameter."""
    missing = constants(module, kind)
    for name, tensor in module.named_parameters(recurse=kind != kinds.CONTAINER, remove_duplicate=False):
        if id(tensor) not in missing:
            yield name, name, tensor


def transposed_names(module: torch.nn.Module, kind: str) -> tuple[str, ...]:
    """Return the parameters whose axes are the other way round than in PyTorch: none."""
    return ()


def constants(module: torch.nn.Module, kind: str) -> set[int]:
    """Return the arrays that stand for weights or biases which a layer does not have: none."""
    return set()


def roles(name: str, tensor: Any, kind: str) -> list[tuple[str, slice | None]]:
    """Return the roles of a parameter, several for fused projections, with their rows."""
    if kind != kinds.ATTENTION:
        return [(name, None)]
    if name.startswith("in_proj_"):
        rows = tensor.shape[0] // 3
        suffix = name.removeprefix("in_proj_")
        return [(f"{own}.{suffix}", slice(rows * at, rows * (at + 1))) for at, own in enumerate(PROJECTIONS)]
    return [(name.replace("_proj_", ".").replace("_proj.", "."), None)]


def describe_parameters(model: torch.nn.Module) -> tuple[Parameter, ...]:
    """Return a description of all parameters and buffers with their values."""
    return tuple(
        Parameter(
            own.name,
            own.own_name,
            own.module,
            own.role,
            own.values(),
            own.trainable,
            own.buffer,
            "transposed" if own.transposed else "same",
            own.tied_to,
        )
        for own in slots(model)
    )


def gradients(model: torch.nn.Module, computed: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """Return the gradients of all parameters that have one, by neutral name; `computed` has normalized weights."""
    found: dict[str, np.ndarray] = {}
    for own in slots(model):
        if own.buffer:
            continue
        if own.norm is not None:
            if computed is not None and own.name in computed:
                found[own.name] = own.neutral(computed[own.name])
        elif own.tensor.grad is not None:
            found[own.name] = own.neutral(as_array(own.tensor.grad))
    return found


def values(model: torch.nn.Module, buffers: bool = False) -> dict[str, np.ndarray]:
    """Return all values by neutral name, or those of the buffers alone."""
    return {own.name: own.values() for own in slots(model) if own.buffer or not buffers}


def write(model: torch.nn.Module, given: Mapping[str, np.ndarray]) -> None:
    """Write values by neutral name, in the neutral layout. Raises UserError for unknown names and other shapes."""
    known = {own.name: own for own in slots(model)}
    for name, array in given.items():
        if name not in known:
            raise UserError(f"{name}: the PyTorch model has no parameter of this name: choose one of its own")
        own = known[name]
        shape = own.neutral(np.empty(tuple(own.tensor.shape), np.bool_)).shape
        if tuple(array.shape) != shape:
            raise UserError(
                f"{name}: got shape {list(array.shape)}, expected {list(shape)} in the PyTorch model:"
                " give both models the same sizes"
            )
        put(own, np.asarray(array))


def rescale_directions(model: torch.nn.Module) -> None:
    """Give directions of weight normalization the size of the weight, on which training depends."""
    for own in slots(model):
        if own.norm is not None:
            put(own, own.values())


def put(slot: Slot, array: np.ndarray) -> None:
    """Write values in the neutral layout into the tensor of a parameter."""
    array = array.T if slot.transposed else array
    array = array if slot.shape is None else array.reshape(tuple(slot.tensor.shape))
    if slot.norm is not None:
        magnitude, direction, axis = slot.norm
        assign(direction, array)
        assign(magnitude, norm_except(array, axis).reshape(tuple(magnitude.shape)))
        return
    if slot.part is not None:
        exact = exact_values(slot.tensor)
        whole = as_array(slot.tensor).astype(array.dtype) if exact is None else exact.copy()
        whole[slot.part] = array
        array = whole
    assign(slot.tensor, array)


def exact_values(tensor: Any) -> np.ndarray | None:
    """Return the float64 values that were written into a tensor, None if none were or it has changed since."""
    exact, rounded = getattr(tensor, EXACT, (None, None))
    return exact if exact is not None and np.array_equal(as_array(tensor), rounded) else None


def assign(tensor: Any, array: np.ndarray) -> None:
    """Write an array into a tensor of any dtype, and keep its float64 values."""
    with torch.no_grad():
        tensor.copy_(torch.from_numpy(np.array(array)))
    if array.dtype == np.float64 and tensor.dtype != torch.float64:
        setattr(tensor, EXACT, (np.array(array), as_array(tensor)))
