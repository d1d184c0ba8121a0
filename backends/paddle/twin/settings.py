"""Kinds and settings of Paddle's layers, in neutral words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from core.twin.recording import Setting

Reader = Callable[[Any], Mapping[str, Setting]]


def numbers(value: Any, axes: int) -> Setting:
    """Return one number per axis, or the text of an automatic size."""
    if value is None or isinstance(value, str):
        return value if value is None else value.lower()
    if not isinstance(value, (tuple, list)):
        return (value.tolist() if hasattr(value, "tolist") else value,) * axes
    found = tuple(tuple(own) if isinstance(own, (tuple, list)) else own for own in value)
    return found * axes if len(found) == 1 else found


def row(index: int | None, rows: int) -> int | None:
    """Return the row of a padding id counted from 0."""
    return index if index is None or index >= 0 else index + rows


def linear(own: Any) -> Mapping[str, Setting]:
    """Return the settings of a linear layer."""
    inputs, outputs = own.weight.shape
    if hasattr(own, "in_features"):  # `paddle.compat.nn.Linear` has weights [out, in]
        inputs, outputs = own.in_features, own.out_features
    return {"inputs": inputs, "outputs": outputs, "bias": own.bias is not None}


def embedding(own: Any) -> Mapping[str, Setting]:
    """Return the settings of an embedding."""
    rows, dim = own._size
    return {
        "rows": rows,
        "dim": dim,
        # Paddle 2.6 keeps -1 for no padding id.
        "padding_id": None if own._padding_idx in (None, -1) else row(own._padding_idx, rows),
        "max_norm": getattr(own, "_max_norm", None),
        "scale_by_frequency": getattr(own, "_scale_grad_by_freq", False),
        "sparse": own._sparse,
    }


def layer_norm(own: Any) -> Mapping[str, Setting]:
    """Return the settings of layer normalization."""
    affine = {"weight": own.weight is not None, "bias": own.bias is not None}
    return {"shape": tuple(own._normalized_shape), "epsilon": own._epsilon, **affine}


def group_norm(own: Any) -> Mapping[str, Setting]:
    """Return the settings of group normalization."""
    affine = own.weight is not None
    return {"groups": own._num_groups, "features": own._num_channels, "epsilon": own._epsilon, "affine": affine}


def batch_norm(own: Any) -> Mapping[str, Setting]:
    """Return the settings of batch or instance normalization."""
    weight = own.scale if hasattr(own, "scale") else own.weight
    statistics: Setting = False
    if hasattr(own, "_mean"):
        always = getattr(own, "_use_global_stats", None)
        statistics = {None: True, True: "always", False: False}[always]
        if type(own).__name__ == "BatchNorm":  # the old class has False by default, and follows the mode
            statistics = "always" if always else True
    return {
        "features": own._mean.shape[0] if hasattr(own, "_mean") else own._num_features,
        "epsilon": own._epsilon,
        # Paddle's momentum is the share of the old value: docs/differences.md#batch_norm
        "momentum": round(1 - own._momentum, 12),
        "affine": weight is not None,
        "running_statistics": statistics,
    }


def convolution(axes: int, transposed: bool) -> Reader:
    """Return the reader of a convolution over `axes` axes."""

    def read(own: Any) -> Mapping[str, Setting]:
        extra = {"output_padding": numbers(own.output_padding, axes)}
        return {
            "axes": axes,
            "inputs": own._in_channels,
            "outputs": own._out_channels,
            "kernel": numbers(own._kernel_size, axes),
            "stride": numbers(own._stride, axes),
            "padding": numbers(own._padding, axes),
            "dilation": numbers(own._dilation, axes),
            "groups": own._groups,
            "bias": own.bias is not None,
            **(extra if transposed else {"padding_mode": own._padding_mode}),
        }

    return read


def pool(axes: int, function: str) -> Reader:
    """Return the reader of a pooling over `axes` axes."""

    def read(own: Any) -> Mapping[str, Setting]:
        kernel = own.ksize if hasattr(own, "ksize") else own.kernel_size
        # `paddle.compat.nn` has PyTorch's `count_include_pad`, `paddle.nn` its opposite.
        count = not own.exclusive if hasattr(own, "exclusive") else getattr(own, "count_include_pad", None)
        return {
            "axes": axes,
            "function": function,
            "adaptive": False,
            "kernel": numbers(kernel, axes),
            "stride": numbers(kernel if own.stride is None else own.stride, axes),
            "padding": numbers(own.padding, axes),
            "ceil_mode": own.ceil_mode,
            "count_padding": count,
        }

    return read


def adaptive_pool(axes: int, function: str) -> Reader:
    """Return the reader of a pooling to a given size."""
    found = {"axes": axes, "function": function, "adaptive": True}
    return lambda own: {
        **found,
        "output": numbers(own.output_size if hasattr(own, "output_size") else own._output_size, axes),
    }


def upsample(own: Any) -> Mapping[str, Setting]:
    """Return the settings of an interpolation."""
    size, scale = (
        tuple(value) if isinstance(value, (tuple, list)) else value for value in (own.size, own.scale_factor)
    )
    fixed = {"UpsamplingNearest2D": ("nearest", False), "UpsamplingBilinear2D": ("bilinear", True)}
    function, corners = fixed.get(type(own).__name__) or (own.mode, own.align_corners)
    return {"function": function, "size": size, "scale": scale, "align_corners": bool(corners)}


def recurrent(cell: str) -> Reader:
    """Return the reader of a recurrent layer."""

    def read(own: Any) -> Mapping[str, Setting]:
        first = first_cell(own)
        return {
            "cell": cell,
            "inputs": own.input_size,
            "hidden": own.hidden_size,
            "layers": own.num_layers,
            "directions": own.num_directions,
            "activation": own.activation if cell == "rnn" else None,
            "bias": first.bias_ih is not None and not first.bias_ih.stop_gradient,
            "dropout": own.dropout,
            "batch_first": not own.time_major,
            "projection": getattr(own, "proj_size", 0),
        }

    return read


def first_cell(own: Any) -> Any:
    """Return the cell of a recurrent layer, of several the first."""
    layer = own if hasattr(own, "cell") or hasattr(own, "cell_fw") else own[0]
    return layer.cell if hasattr(layer, "cell") else layer.cell_fw


def wrapper(own: Any) -> Mapping[str, Setting]:
    """Return the settings of a recurrent layer around the framework's cells, as of one without a wrapper."""
    first = first_cell(own)
    name = {"SimpleRNNCell": "rnn", "LSTMCell": "lstm", "GRUCell": "gru"}[type(first).__name__]
    return {
        **cell(name)(first),
        "layers": 1,
        "directions": 1 if hasattr(own, "cell") else 2,
        "dropout": 0.0,
        "batch_first": not own.time_major,
        "projection": getattr(first, "proj_size", None) or 0,
    }


def cell(name: str) -> Reader:
    """Return the reader of a recurrent cell."""

    def read(own: Any) -> Mapping[str, Setting]:
        sizes = {"inputs": own.input_size, "hidden": own.hidden_size}
        activation = own.activation if name == "rnn" else None
        bias = own.bias_ih is not None and not own.bias_ih.stop_gradient
        return {"cell": name, **sizes, "activation": activation, "bias": bias}

    return read


def attention(own: Any) -> Mapping[str, Setting]:
    """Return the settings of multi-head attention."""
    projection = own.q_proj.bias if hasattr(own, "q_proj") else own.out_proj.bias
    return {
        "dim": own.embed_dim,
        "heads": own.num_heads,
        "dropout": own.dropout,
        "bias": projection is not None,
        "key_dim": own.kdim,
        "value_dim": own.vdim,
        "batch_first": getattr(own, "batch_first", True),
        "add_bias_kv": getattr(own, "bias_k", None) is not None,
    }


def dropout(axes: tuple[int, ...], function: str = "bernoulli") -> Reader:
    """Return the reader of a dropout layer whose mask is shared along `axes`."""

    def read(own: Any) -> Mapping[str, Setting]:
        scale_at = "evaluation" if getattr(own, "mode", "") == "downscale_in_infer" else "training"
        shared: Setting = axes
        if getattr(own, "data_format", "NC").endswith("C") and axes:
            shared = tuple(axis - 1 for axis in axes)
        if getattr(own, "axis", None) is not None:
            kept = own.axis if isinstance(own.axis, (tuple, list)) else [own.axis]
            shared = f"all but {', '.join(map(str, kept))}"
        return {"function": function, "rate": own.p, "scale_at": scale_at, "axes": shared}

    return read


def activation(function: str, **attributes: str) -> Reader:
    """Return the reader of an activation, with the attribute of each setting."""
    return lambda own: {"function": function} | {name: getattr(own, key) for name, key in attributes.items()}


def padding(axes: int, function: str) -> Reader:
    """Return the reader of a padding layer."""

    def read(own: Any) -> Mapping[str, Setting]:
        mode = {"replicate": "pad_replicate", "reflect": "pad_reflect", "circular": "pad_circular"}
        name = mode.get(getattr(own, "_mode", getattr(own, "mode", "constant")), function)
        value = {"value": float(own.value)} if name == "pad_constant" else {}
        return {"function": name, "padding": numbers(own.padding, 2 * axes), **value}

    return read


def shape(function: str, **attributes: str) -> Reader:
    """Return the reader of a layer that moves values, with the attribute of each setting."""
    return lambda own: {"function": function} | {name: getattr(own, key) for name, key in attributes.items()}


def loss(function: str, **attributes: str) -> Reader:
    """Return the reader of a loss, with the attribute of each setting."""

    def read(own: Any) -> Mapping[str, Setting]:
        given = {"weights": getattr(own, "weight", getattr(own, "_weight", None)) is not None}
        found = {name: getattr(own, key) for name, key in attributes.items() if hasattr(own, key)}
        reduction = own.reduction if hasattr(own, "reduction") else own._reduction
        return {"function": function, "reduction": reduction, **given, **found}

    return read


def transformer(own: Any) -> Mapping[str, Setting]:
    """Return the settings of a layer of a Transformer."""
    name = getattr(own.activation, "__name__", type(own.activation).__name__).lower().lstrip("_")
    return {"norm_first": own.normalize_before, "activation": name}
