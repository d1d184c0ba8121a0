"""Parameters and buffers of a Paddle model by neutral name, in the neutral layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.paddle.framework import paddle
from backends.paddle.twin.modules import base_class, kind_of, walk, weight_norms
from core.errors import UserError
from core.twin import kinds
from core.twin.recording import Parameter
from core.twin.weight_norm import norm_except, normalized

EXACT = "exact_float64_values"
"""Attribute of a tensor with the values that were written, before its own precision rounded them."""
PROJECTIONS = ("q", "k", "v")
STATISTICS = ("running_mean", "running_var")
CELL_NAMES = {"weight_ho": "weight_hr"}
OWN_NAMES = {"_mean": "running_mean", "_variance": "running_var", "scale": "weight", "_weight": "weight"}
"""Roles of the parameters of normalization and PReLU that have another name here."""


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
        return not self.buffer and not self.tensor.stop_gradient


def as_array(tensor: Any) -> np.ndarray:
    """Return a copy of a tensor as an array."""
    if tensor.is_selected_rows():
        found = tensor.get_selected_rows()
        values = np.array(found.get_tensor())
        dense = np.zeros((found.height(), *values.shape[1:]), values.dtype)
        np.add.at(dense, found.rows(), values)
        return dense
    own = tensor.detach()
    return np.array((own.astype("float32") if own.dtype in (paddle.bfloat16, paddle.float16) else own).numpy())


def slots(model: paddle.nn.Layer) -> list[Slot]:
    """Return all parameters and persistent buffers of a model, parameters of a module before its buffers."""
    found: list[Slot] = []
    first: dict[tuple, str] = {}
    for path, module in walk(model).items():
        for own in held(module, path):
            key = (id(own.tensor), None if own.part is None else own.part.start)
            tied = first.get(key, "") if not own.buffer else ""
            first.setdefault(key, own.name)
            found.append(Slot(**{**vars(own), "tied_to": tied}))
    return found


def held(module: paddle.nn.Layer, path: str) -> Iterator[Slot]:
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
            # Paddle's weights of layer normalization have one axis.
            shape = tuple(module._normalized_shape) if kind == kinds.LAYER_NORM else None
            turn = name in turned
            yield Slot(f"{start}{role}", f"{start}{own_name}", path, role, tensor, part, turn, buffer, shape=shape)
    saved = module.state_dict()
    for name, tensor in module.named_buffers() if kind != kinds.CONTAINER else module._buffers.items():
        if name in saved and tensor is not None and tensor._is_initialized():
            yield Slot(f"{start}{name}", f"{start}{name}", path, name, tensor, buffer=True)


def own_parameters(module: paddle.nn.Layer, kind: str) -> Iterator[tuple[str, str, Any]]:
    """Yield own name, name in PyTorch's layer and tensor of each parameter.

    A recurrent layer is read by its cells, as it lists its parameters under two names.
    """
    missing = constants(module, kind)
    if kind != kinds.RECURRENT:
        inside = list(module.named_parameters() if kind != kinds.CONTAINER else module._parameters.items())
        if kind == kinds.ATTENTION:  # PyTorch's order: weights, biases, output projection
            inside.sort(key=lambda own: (own[0].startswith("out"), own[0].endswith("bias")))
        yield from ((name, name, tensor) for name, tensor in inside if tensor is not None and id(tensor) not in missing)
        return
    own_names = {id(tensor): name for name, tensor in module.named_parameters()}
    wrapped = hasattr(module, "cell") or hasattr(module, "cell_fw")
    for at, layer in enumerate([module] if wrapped else module.children()):
        cells = [("", layer.cell)] if hasattr(layer, "cell") else [("", layer.cell_fw), ("_reverse", layer.cell_bw)]
        for suffix, cell in cells:
            for name, tensor in cell._parameters.items():
                if tensor is not None and id(tensor) not in missing:
                    yield own_names[id(tensor)], f"{CELL_NAMES.get(name, name)}_l{at}{suffix}", tensor


def transposed_names(module: paddle.nn.Layer, kind: str) -> tuple[str, ...]:
    """Return the parameters whose axes are the other way round than in PyTorch."""
    base = base_class(module)
    if base is None or base.__module__.startswith("paddle.compat"):  # these have PyTorch's layout
        return ()
    if kind == kinds.ATTENTION:
        return tuple(f"{own}_proj.weight" for own in (*PROJECTIONS, "out"))
    if kind == kinds.RECURRENT:
        return tuple(name for _, name, _ in own_parameters(module, kind) if name.startswith("weight_hr"))
    return ("weight",) if base.__name__ == "Linear" else ()


def constants(module: paddle.nn.Layer, kind: str) -> set[int]:
    """Return the arrays of cells that stand for weights or biases which these do not have."""
    if kind not in (kinds.RECURRENT, kinds.CELL) or not any(not own.stop_gradient for own in module.parameters()):
        return set()  # a layer that is frozen as a whole has all its arrays
    return {id(own) for own in module.parameters() if own.stop_gradient}


def roles(name: str, tensor: Any, kind: str) -> list[tuple[str, slice | None]]:
    """Return the roles of a parameter, several for fused projections, with their rows."""
    if kind in (kinds.BATCH_NORM, kinds.INSTANCE_NORM, kinds.ACTIVATION):
        return [(OWN_NAMES.get(name, name), None)]
    if kind != kinds.ATTENTION:
        return [(name, None)]
    if name.startswith("in_proj_"):
        rows = tensor.shape[0] // 3
        suffix = name.removeprefix("in_proj_")
        return [(f"{own}.{suffix}", slice(rows * at, rows * (at + 1))) for at, own in enumerate(PROJECTIONS)]
    return [(name.replace("_proj_", ".").replace("_proj.", "."), None)]


def describe_parameters(model: paddle.nn.Layer) -> tuple[Parameter, ...]:
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


def gradients(model: paddle.nn.Layer, computed: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
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


def values(model: paddle.nn.Layer, buffers: bool = False) -> dict[str, np.ndarray]:
    """Return all values by neutral name, or those of the buffers alone."""
    return {own.name: own.values() for own in slots(model) if own.buffer or not buffers}


def write(model: paddle.nn.Layer, given: Mapping[str, np.ndarray]) -> None:
    """Write values by neutral name, in the neutral layout. Raises UserError for unknown names and other shapes."""
    known = {own.name: own for own in slots(model)}
    for name, array in given.items():
        if name not in known:
            raise UserError(f"{name}: the Paddle model has no parameter of this name: choose one of its own")
        own = known[name]
        shape = own.neutral(np.empty(tuple(own.tensor.shape), np.bool_)).shape
        if tuple(array.shape) != shape:
            raise UserError(
                f"{name}: got shape {list(array.shape)}, expected {list(shape)} in the Paddle model:"
                " give both models the same sizes"
            )
        put(own, np.asarray(array))


def rescale_directions(model: paddle.nn.Layer) -> None:
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
    tensor.set_value(paddle.to_tensor(np.ascontiguousarray(array)).astype(tensor.dtype))
    kept = tensor.dtype != paddle.float64 and isinstance(tensor, paddle.base.framework.EagerParamBase)
    if array.dtype == np.float64 and kept:
        setattr(tensor, EXACT, (np.array(array), as_array(tensor)))
