"""PyTorch layers with other settings and the same parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from backends.torch.framework import torch
from backends.torch.twin.modules import base_class, kind_of, weight_norms
from core.twin import kinds
from core.twin.recording import Setting

nn = torch.nn

ATTRIBUTES: dict[str, dict[str, tuple[str, ...]]] = {
    kinds.EMBEDDING: {
        "padding_id": ("padding_idx",),
        "max_norm": ("max_norm",),
        "scale_by_frequency": ("scale_grad_by_freq",),
        "sparse": ("sparse",),
    },
    kinds.LAYER_NORM: {"epsilon": ("eps",)},
    kinds.RMS_NORM: {"epsilon": ("eps",)},
    kinds.BATCH_NORM: {"epsilon": ("eps",), "momentum": ("momentum",)},
    kinds.GROUP_NORM: {"epsilon": ("eps",), "groups": ("num_groups",)},
    kinds.INSTANCE_NORM: {"epsilon": ("eps",), "momentum": ("momentum",)},
    kinds.POOL: {
        "kernel": ("kernel_size",),
        "stride": ("stride",),
        "padding": ("padding",),
        "ceil_mode": ("ceil_mode",),
        "count_padding": ("count_include_pad",),
        "output": ("output_size",),
    },
    kinds.UPSAMPLE: {"size": ("size",), "scale": ("scale_factor",), "function": ("mode",)},
    kinds.RECURRENT: {"batch_first": ("batch_first",)},
    kinds.CELL: {"activation": ("nonlinearity",)},
    kinds.ATTENTION: {"batch_first": ("batch_first",)},
    kinds.DROPOUT: {"rate": ("p",)},
    kinds.SHAPE: {
        "start": ("start_dim", "dim"),
        "end": ("end_dim",),
        "padding": ("padding",),
        "value": ("value", "upscale_factor"),
    },
    kinds.LOSS: {
        "reduction": ("reduction",),
        "ignored_label": ("ignore_index",),
        "label_smoothing": ("label_smoothing",),
        "beta": ("beta", "delta"),
        "margin": ("margin",),
    },
}
"""Attributes of each setting, of which a class has one."""
AFFINE = {"bias": ("bias",), "weight": ("weight",), "affine": ("weight", "bias")}
"""Parameters that a layer does without if a setting is false."""
ACTIVATIONS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "relu": lambda own: nn.ReLU(),
    "relu6": lambda own: nn.ReLU6(),
    "silu": lambda own: nn.SiLU(),
    "selu": lambda own: nn.SELU(),
    "sigmoid": lambda own: nn.Sigmoid(),
    "tanh": lambda own: nn.Tanh(),
    "tanhshrink": lambda own: nn.Tanhshrink(),
    "softsign": lambda own: nn.Softsign(),
    "mish": lambda own: nn.Mish(),
    "hardswish": lambda own: nn.Hardswish(),
    "hardsigmoid": lambda own: nn.Hardsigmoid(),
    "log_sigmoid": lambda own: nn.LogSigmoid(),
    "gelu": lambda own: nn.GELU(approximate=own.get("approximate") or "none"),
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
    for name in ("_parameters", "_buffers", "_modules"):
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
        module.align_corners = None if module.mode in ("nearest", "nearest-exact", "area") else value
        return module.align_corners is not None
    if kind == kinds.RECURRENT and name == "activation" and module.mode.startswith("RNN") and value:
        module.nonlinearity, module.mode = value, f"RNN_{str(value).upper()}"
        return True
    if kind == kinds.ATTENTION and name == "heads" and isinstance(value, int) and module.embed_dim % value == 0:
        module.num_heads, module.head_dim = value, module.embed_dim // value
        return True
    if kind in (kinds.DROPOUT, kinds.ATTENTION) and name in ("rate", "dropout", "axes"):
        return not module.training
    attribute = next((own for own in ATTRIBUTES.get(kind, {}).get(name, ()) if hasattr(module, own)), None)
    if attribute is None:
        return False
    setattr(module, attribute, _plain(value))
    return True


def _statistics(module: Any, value: Setting) -> bool:
    """Have a normalization use its running statistics in training too, or never."""
    if value == "always" and module.track_running_stats:
        module.training = False
        return True
    if value is False:
        module.track_running_stats = False
        vars(module)["_buffers"].update(running_mean=None, running_var=None)
        return True
    return False


def _convolution(original: Any, kind: str, read: Mapping[str, Any], changed: Mapping[str, Setting]) -> Any | None:
    """Return a convolution with the same parameters; only settings that keep their shapes can change."""
    kept = {"stride", "padding", "dilation", "output_padding", "padding_mode"}
    if "bias" in changed and changed["bias"] is False:
        kept.add("bias")
    if changed.keys() - kept:
        return None
    base = base_class(original)
    assert base is not None
    options = {name: read[name] for name in ("stride", "padding", "dilation", "groups", "bias")}
    name = "output_padding" if kind == kinds.CONV_TRANSPOSED else "padding_mode"
    module = base(read["inputs"], read["outputs"], read["kernel"], **options, **{name: read[name]})
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
    base = getattr(nn, f"{'Adaptive' if read['adaptive'] else ''}{POOLS[read['function']]}Pool{read['axes']}d")
    if read["adaptive"]:
        return base(read["output"])
    return base(read["kernel"], read["stride"], read["padding"], ceil_mode=read["ceil_mode"])


def _plain(value: Any) -> Any:
    """Return a value as the framework takes it."""
    return value
