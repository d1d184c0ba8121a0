"""Paddle layers with other settings and the same parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from backends.paddle.framework import paddle
from backends.paddle.twin.modules import base_class, kind_of, weight_norms
from core.twin import kinds
from core.twin.recording import Setting

nn = paddle.nn

ATTRIBUTES: dict[str, dict[str, tuple[str, ...]]] = {
    kinds.EMBEDDING: {
        "padding_id": ("_padding_idx",),
        "max_norm": ("_max_norm",),
        "scale_by_frequency": ("_scale_grad_by_freq",),
        "sparse": ("_sparse",),
    },
    kinds.LAYER_NORM: {"epsilon": ("_epsilon",)},
    kinds.RMS_NORM: {"epsilon": ("_epsilon",)},
    kinds.BATCH_NORM: {"epsilon": ("_epsilon",), "momentum": ("_momentum",)},
    kinds.GROUP_NORM: {"epsilon": ("_epsilon",), "groups": ("_num_groups",)},
    kinds.INSTANCE_NORM: {"epsilon": ("_epsilon",), "momentum": ("_momentum",)},
    kinds.POOL: {
        "kernel": ("ksize", "kernel_size"),
        "stride": ("stride",),
        "padding": ("padding",),
        "ceil_mode": ("ceil_mode",),
        "count_padding": ("exclusive", "count_include_pad"),
        "output": ("output_size", "_output_size"),
    },
    kinds.UPSAMPLE: {"size": ("size",), "scale": ("scale_factor",), "function": ("mode",)},
    kinds.RECURRENT: {"batch_first": ("time_major",)},
    kinds.CELL: {"activation": ("activation",)},
    kinds.ATTENTION: {"batch_first": ("batch_first",)},
    kinds.DROPOUT: {"rate": ("p",), "scale_at": ("mode",)},
    kinds.SHAPE: {
        "start": ("start_axis", "axis"),
        "end": ("stop_axis",),
        "padding": ("padding",),
        "value": ("value", "_upscale_factor"),
    },
    kinds.LOSS: {
        "reduction": ("reduction", "_reduction"),
        "ignored_label": ("ignore_index", "_ignore_index"),
        "label_smoothing": ("label_smoothing",),
        "beta": ("delta",),
        "margin": ("margin",),
    },
}
"""Attributes of each setting, of which a class has one."""
OWN_VALUES: dict[str, Callable[[Any], Any]] = {
    # Paddle's momentum is the share of the old value: docs/differences.md#batch_norm
    "_momentum": lambda value: 1 - value,
    "exclusive": lambda value: not value,
    "time_major": lambda value: not value,
    "mode": lambda value: {"training": "upscale_in_train", "evaluation": "downscale_in_infer"}.get(value, value),
}
"""Values of attributes that have another convention than the neutral setting."""
AFFINE = {"bias": ("bias",), "weight": ("weight",), "affine": ("weight", "scale", "bias")}
"""Parameters that a layer does without if a setting is false."""
ACTIVATIONS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "relu": lambda own: nn.ReLU(),
    "relu6": lambda own: nn.ReLU6(),
    "silu": lambda own: nn.Silu(),
    "selu": lambda own: nn.SELU(),
    "sigmoid": lambda own: nn.Sigmoid(),
    "tanh": lambda own: nn.Tanh(),
    "tanhshrink": lambda own: nn.Tanhshrink(),
    "softsign": lambda own: nn.Softsign(),
    "mish": lambda own: nn.Mish(),
    "hardswish": lambda own: nn.Hardswish(),
    "hardsigmoid": lambda own: nn.Hardsigmoid(),
    "log_sigmoid": lambda own: nn.LogSigmoid(),
    "gelu": lambda own: nn.GELU(own.get("approximate") == "tanh"),
    "leaky_relu": lambda own: nn.LeakyReLU(own["slope"]),
    "elu": lambda own: nn.ELU(own["alpha"]),
    "celu": lambda own: nn.CELU(own["alpha"]),
    "softplus": lambda own: nn.Softplus(own["beta"], own["threshold"]),
    "hardtanh": lambda own: nn.Hardtanh(own["lower"], own["upper"]),
    "softshrink": lambda own: nn.Softshrink(own["threshold"]),
    "hardshrink": lambda own: nn.Hardshrink(own["threshold"]),
    "softmax": lambda own: nn.Softmax(own["axis"]),
    "log_softmax": lambda own: nn.LogSoftmax(own["axis"]),
    "glu": lambda own: nn.GLU(own["axis"]),
}
"""Activations by function, from their settings."""
POOLS = {"max": "Max", "average": "Avg"}


def changed_copy(original: Any, settings: Mapping[str, Setting]) -> Any | None:
    """Return a layer with the same parameters and other settings, None if one of them cannot be changed."""
    kind, read = kind_of(original)
    changed = {name: value for name, value in settings.items() if read.get(name, None) != value or name not in read}
    if weight_norms(original) and changed:
        return None
    if kind in (kinds.CONV, kinds.CONV_TRANSPOSED) and changed:
        return _convolution(original, kind, {**read, **changed}, changed)
    if kind == kinds.ACTIVATION and changed:
        return _activation({**read, **changed})
    if kind == kinds.POOL and "function" in changed:
        original = _other_pool(original, {**read, **changed})
        changed.pop("function")
    module = shallow(original)
    return module if all(_change(module, kind, name, value) for name, value in changed.items()) else None


def shallow(module: Any) -> Any:
    """Return a copy whose attributes and lists of parameters can change; the parameters are the same."""
    found = copy.copy(module)
    for name in ("_parameters", "_buffers", "_sub_layers"):
        vars(found)[name] = dict(vars(module)[name])
    return found


def _change(module: Any, kind: str, name: str, value: Setting) -> bool:
    """Set one setting of a copied layer; False if that is not possible."""
    if name in AFFINE and kind not in (kinds.RECURRENT, kinds.CELL, kinds.ATTENTION):
        held = [own for own in AFFINE[name] if vars(module)["_parameters"].get(own) is not None]
        for own in held:
            vars(module)["_parameters"][own] = None
        return value is False and bool(held)
    if kind in (kinds.BATCH_NORM, kinds.INSTANCE_NORM) and name == "running_statistics":
        return _statistics(module, value)
    if kind == kinds.UPSAMPLE and name == "align_corners":
        if module.mode in ("nearest", "area"):
            return False
        module.align_corners = value
        return True
    if kind == kinds.RECURRENT and name == "activation" and module.mode.startswith("RNN") and value:
        module.activation, module.mode = value, f"RNN_{str(value).upper()}"
        return True
    if kind == kinds.ATTENTION and name == "heads" and isinstance(value, int) and module.embed_dim % value == 0:
        module.num_heads, module.head_dim = value, module.embed_dim // value
        return True
    if kind in (kinds.DROPOUT, kinds.ATTENTION) and name in ("dropout", "axes"):
        return not module.training
    attribute = next((own for own in ATTRIBUTES.get(kind, {}).get(name, ()) if hasattr(module, own)), None)
    if attribute is None:
        return False
    setattr(module, attribute, OWN_VALUES.get(attribute, _plain)(value))
    if kind == kinds.CELL:
        module._activation_fn = getattr(paddle.nn.functional, str(value))
    return True


def _statistics(module: Any, value: Setting) -> bool:
    """Have a normalization use its running statistics in training too, or never."""
    if not hasattr(module, "_use_global_stats"):
        return False
    module._use_global_stats = {"always": True, False: False, True: None}[value]
    return True


def _convolution(original: Any, kind: str, read: Mapping[str, Any], changed: Mapping[str, Setting]) -> Any | None:
    """Return a convolution with the same parameters; only settings that keep their shapes can change."""
    kept = {"stride", "padding", "dilation", "output_padding", "padding_mode"}
    if "bias" in changed and changed["bias"] is False:
        kept.add("bias")
    if changed.keys() - kept:
        return None
    base = base_class(original)
    assert base is not None
    options = {name: read[name] for name in ("stride", "padding", "dilation", "groups")}
    if read.get("padding_mode", "zeros") != "zeros" and len(set(read["padding"])) == 1:
        options["padding"] = read["padding"][0]  # Paddle pads in other modes by one number only
    options |= {"bias_attr": None if read["bias"] else False, "data_format": original._data_format}
    name = "output_padding" if kind == kinds.CONV_TRANSPOSED else "padding_mode"
    options |= {name: read[name]}
    options = {key: _plain(own) for key, own in options.items()}
    module = base(read["inputs"], read["outputs"], _plain(read["kernel"]), **options)
    for role in ("weight", "bias") if read["bias"] else ("weight",):
        vars(module)["_parameters"][role] = original._parameters[role]
    module.training = original.training
    return module


def _activation(read: Mapping[str, Any]) -> Any | None:
    """Return an activation with these settings, None without a needed one or if its function has parameters."""
    build = ACTIVATIONS.get(str(read["function"]))
    needed = {"leaky_relu": ("slope",), "elu": ("alpha",), "celu": ("alpha",), "softplus": ("beta", "threshold")}
    needed |= {"hardtanh": ("lower", "upper"), "softshrink": ("threshold",), "hardshrink": ("threshold",)}
    needed |= dict.fromkeys(("softmax", "log_softmax", "glu"), ("axis",))
    if build is None or any(name not in read for name in needed.get(str(read["function"]), ())):
        return None
    return build(read)


def _other_pool(original: Any, read: Mapping[str, Any]) -> Any:
    """Return a pooling of the other function, maximum or average."""
    base = getattr(nn, f"{'Adaptive' if read['adaptive'] else ''}{POOLS[read['function']]}Pool{read['axes']}D")
    sizes = {key: _plain(own) for key, own in read.items()}
    if read["adaptive"]:
        return base(sizes["output"])
    return base(sizes["kernel"], sizes["stride"], sizes["padding"], ceil_mode=read["ceil_mode"])


def _plain(value: Any) -> Any:
    """Return sizes per axis as Paddle takes them: a list, or a number for a single axis."""
    if not isinstance(value, tuple):
        return value
    return value[0] if len(value) == 1 else list(value)
