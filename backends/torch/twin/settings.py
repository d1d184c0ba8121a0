"""Kinds and settings of PyTorch's layers, in neutral words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from core.twin.recording import Setting

Reader = Callable[[Any], Mapping[str, Setting]]


def numbers(value: Any, axes: int) -> Setting:
    """Return one number per axis, or the text of an automatic size."""
    if value is None or isinstance(value, str):
        return value
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes


def row(index: int | None, rows: int) -> int | None:
    """Return the row of a padding id counted from 0."""
    return index if index is None or index >= 0 else index + rows


def linear(own: Any) -> Mapping[str, Setting]:
    """Return the settings of a linear layer."""
    return {"inputs": own.in_features, "outputs": own.out_features, "bias": own.bias is not None}


def embedding(own: Any) -> Mapping[str, Setting]:
    """Return the settings of an embedding."""
    return {
        "rows": own.num_embeddings,
        "dim": own.embedding_dim,
        "padding_id": row(own.padding_idx, own.num_embeddings),
        "max_norm": own.max_norm,
        "scale_by_frequency": own.scale_grad_by_freq,
        "sparse": own.sparse,
    }


def layer_norm(own: Any) -> Mapping[str, Setting]:
    """Return the settings of layer normalization."""
    affine = {"weight": own.weight is not None, "bias": own.bias is not None}
    return {"shape": tuple(own.normalized_shape), "epsilon": own.eps, **affine}


def group_norm(own: Any) -> Mapping[str, Setting]:
    """Return the settings of group normalization."""
    affine = own.weight is not None
    return {"groups": own.num_groups, "features": own.num_channels, "epsilon": own.eps, "affine": affine}


def batch_norm(own: Any) -> Mapping[str, Setting]:
    """Return the settings of batch or instance normalization."""
    return {
        "features": own.num_features,
        "epsilon": own.eps,
        "momentum": own.momentum,
        "affine": own.weight is not None,
        "running_statistics": own.track_running_stats,
    }


def convolution(axes: int, transposed: bool) -> Reader:
    """Return the reader of a convolution over `axes` axes."""

    def read(own: Any) -> Mapping[str, Setting]:
        extra = {"output_padding": numbers(own.output_padding, axes)}
        return {
            "axes": axes,
            "inputs": own.in_channels,
            "outputs": own.out_channels,
            "kernel": numbers(own.kernel_size, axes),
            "stride": numbers(own.stride, axes),
            "padding": numbers(own.padding, axes),
            "dilation": numbers(own.dilation, axes),
            "groups": own.groups,
            "bias": own.bias is not None,
            **(extra if transposed else {"padding_mode": own.padding_mode}),
        }

    return read


def pool(axes: int, function: str) -> Reader:
    """Return the reader of a pooling over `axes` axes."""

    def read(own: Any) -> Mapping[str, Setting]:
        stride = own.kernel_size if own.stride is None else own.stride
        return {
            "axes": axes,
            "function": function,
            "adaptive": False,
            "kernel": numbers(own.kernel_size, axes),
            "stride": numbers(stride, axes),
            "padding": numbers(own.padding, axes),
            "ceil_mode": own.ceil_mode,
            "count_padding": getattr(own, "count_include_pad", None),
        }

    return read


def adaptive_pool(axes: int, function: str) -> Reader:
    """Return the reader of a pooling to a given size."""
    found = {"axes": axes, "function": function, "adaptive": True}
    return lambda own: {**found, "output": numbers(own.output_size, axes)}


def upsample(own: Any) -> Mapping[str, Setting]:
    """Return the settings of an interpolation."""
    size, scale = (
        tuple(value) if isinstance(value, (tuple, list)) else value for value in (own.size, own.scale_factor)
    )
    return {"function": own.mode, "size": size, "scale": scale, "align_corners": bool(own.align_corners)}


def recurrent(cell: str) -> Reader:
    """Return the reader of a recurrent layer."""

    def read(own: Any) -> Mapping[str, Setting]:
        return {
            "cell": cell,
            "inputs": own.input_size,
            "hidden": own.hidden_size,
            "layers": own.num_layers,
            "directions": 2 if own.bidirectional else 1,
            "activation": own.nonlinearity if cell == "rnn" else None,
            "bias": own.bias,
            "dropout": own.dropout,
            "batch_first": own.batch_first,
            "projection": own.proj_size,
        }

    return read


def first_cell(own: Any) -> Any:
    """Return the cell of a recurrent layer: none, as PyTorch's layers have no cells."""
    return None


def wrapper(own: Any) -> Mapping[str, Setting]:
    """Return the settings of a recurrent layer around cells; PyTorch has none."""
    return {}


def cell(name: str) -> Reader:
    """Return the reader of a recurrent cell."""

    def read(own: Any) -> Mapping[str, Setting]:
        sizes = {"inputs": own.input_size, "hidden": own.hidden_size}
        activation = own.nonlinearity if name == "rnn" else None
        return {"cell": name, **sizes, "activation": activation, "bias": own.bias_ih is not None}

    return read


def attention(own: Any) -> Mapping[str, Setting]:
    """Return the settings of multi-head attention."""
    return {
        "dim": own.embed_dim,
        "heads": own.num_heads,
        "dropout": own.dropout,
        "bias": own.in_proj_bias is not None,
        "key_dim": own.kdim,
        "value_dim": own.vdim,
        "batch_first": own.batch_first,
        "add_bias_kv": own.bias_k is not None,
    }


def dropout(axes: tuple[int, ...], function: str = "bernoulli") -> Reader:
    """Return the reader of a dropout layer whose mask is shared along `axes`."""
    return lambda own: {"function": function, "rate": own.p, "scale_at": "training", "axes": axes}


def activation(function: str, **attributes: str) -> Reader:
    """Return the reader of an activation, with the attribute of each setting."""
    return lambda own: {"function": function} | {name: getattr(own, key) for name, key in attributes.items()}


def padding(axes: int, function: str) -> Reader:
    """Return the reader of a padding layer."""
    value = {"value": 0.0} if function == "pad_constant" else {}
    return lambda own: {
        "function": function,
        "padding": numbers(own.padding, 2 * axes),
        **({"value": own.value} if hasattr(own, "value") else value),
    }


def shape(function: str, **attributes: str) -> Reader:
    """Return the reader of a layer that moves values, with the attribute of each setting."""
    return lambda own: {"function": function} | {name: getattr(own, key) for name, key in attributes.items()}


def loss(function: str, **attributes: str) -> Reader:
    """Return the reader of a loss, with the attribute of each setting."""

    def read(own: Any) -> Mapping[str, Setting]:
        given = {"weights": getattr(own, "weight", None) is not None}
        found = {name: getattr(own, key) for name, key in attributes.items()}
        return {"function": function, "reduction": own.reduction, **given, **found}

    return read


def transformer(own: Any) -> Mapping[str, Setting]:
    """Return the settings of a layer of a Transformer."""
    name = getattr(own.activation, "__name__", type(own.activation).__name__).lower().lstrip("_")
    return {"norm_first": own.norm_first, "activation": name}
