"""Modules of a PyTorch model: paths, kinds and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backends.torch.framework import torch
from backends.torch.twin import settings
from core.twin import kinds
from core.twin.recording import Module, Setting

FRAMEWORK = "torch.nn"
"""Package of the framework's own layers."""
AXES = ((1, "1d"), (2, "2d"), (3, "3d"))

HOLDERS = ("ParameterList", "ParameterDict")
"""Classes that hold parameters and compute nothing."""

READERS: dict[str, tuple[str, settings.Reader]] = {
    "Linear": (kinds.LINEAR, settings.linear),
    "Embedding": (kinds.EMBEDDING, settings.embedding),
    "LayerNorm": (kinds.LAYER_NORM, settings.layer_norm),
    "RMSNorm": (
        kinds.RMS_NORM,
        lambda own: {"shape": tuple(own.normalized_shape), "epsilon": own.eps, "weight": own.weight is not None},
    ),
    "GroupNorm": (kinds.GROUP_NORM, settings.group_norm),
    "SyncBatchNorm": (kinds.BATCH_NORM, settings.batch_norm),
    "Upsample": (kinds.UPSAMPLE, settings.upsample),
    "UpsamplingNearest2d": (kinds.UPSAMPLE, settings.upsample),
    "UpsamplingBilinear2d": (kinds.UPSAMPLE, settings.upsample),
    "RNN": (kinds.RECURRENT, settings.recurrent("rnn")),
    "LSTM": (kinds.RECURRENT, settings.recurrent("lstm")),
    "GRU": (kinds.RECURRENT, settings.recurrent("gru")),
    "RNNCell": (kinds.CELL, settings.cell("rnn")),
    "LSTMCell": (kinds.CELL, settings.cell("lstm")),
    "GRUCell": (kinds.CELL, settings.cell("gru")),
    "MultiheadAttention": (kinds.ATTENTION, settings.attention),
    "Dropout": (kinds.DROPOUT, settings.dropout(())),
    "AlphaDropout": (kinds.DROPOUT, settings.dropout((), "alpha")),
    "FeatureAlphaDropout": (kinds.DROPOUT, settings.dropout((2,), "alpha")),
    "Flatten": (kinds.SHAPE, settings.shape("flatten", start="start_dim", end="end_dim")),
    "Unflatten": (kinds.SHAPE, settings.shape("unflatten", start="dim")),
    "Identity": (kinds.SHAPE, settings.shape("identity")),
    "PixelShuffle": (kinds.SHAPE, settings.shape("pixel_shuffle", value="upscale_factor")),
    "TransformerEncoderLayer": (kinds.CONTAINER, settings.transformer),
    "TransformerDecoderLayer": (kinds.CONTAINER, settings.transformer),
}
"""Kind and reader of the settings by class of the framework."""

for _axes, _name in AXES:
    _shared = tuple(range(2, 2 + _axes))
    READERS |= {
        f"BatchNorm{_name}": (kinds.BATCH_NORM, settings.batch_norm),
        f"InstanceNorm{_name}": (kinds.INSTANCE_NORM, settings.batch_norm),
        f"Conv{_name}": (kinds.CONV, settings.convolution(_axes, False)),
        f"ConvTranspose{_name}": (kinds.CONV_TRANSPOSED, settings.convolution(_axes, True)),
        f"AvgPool{_name}": (kinds.POOL, settings.pool(_axes, "average")),
        f"MaxPool{_name}": (kinds.POOL, settings.pool(_axes, "max")),
        f"AdaptiveAvgPool{_name}": (kinds.POOL, settings.adaptive_pool(_axes, "average")),
        f"AdaptiveMaxPool{_name}": (kinds.POOL, settings.adaptive_pool(_axes, "max")),
        f"Dropout{_name}": (kinds.DROPOUT, settings.dropout(_shared)),
        f"ZeroPad{_name}": (kinds.SHAPE, settings.padding(_axes, "pad_constant")),
        f"ConstantPad{_name}": (kinds.SHAPE, settings.padding(_axes, "pad_constant")),
        f"ReflectionPad{_name}": (kinds.SHAPE, settings.padding(_axes, "pad_reflect")),
        f"ReplicationPad{_name}": (kinds.SHAPE, settings.padding(_axes, "pad_replicate")),
        f"CircularPad{_name}": (kinds.SHAPE, settings.padding(_axes, "pad_circular")),
    }

ACTIVATIONS: dict[str, settings.Reader] = {
    **{
        name: settings.activation(name.lower())
        for name in ("ReLU", "ReLU6", "SiLU", "SELU", "Sigmoid", "Tanh", "Tanhshrink", "Softsign", "Mish", "Hardswish")
    },
    "Hardsigmoid": settings.activation("hardsigmoid"),
    "LogSigmoid": settings.activation("log_sigmoid"),
    "PReLU": settings.activation("prelu"),
    "GELU": settings.activation("gelu", approximate="approximate"),
    "LeakyReLU": settings.activation("leaky_relu", slope="negative_slope"),
    "ELU": settings.activation("elu", alpha="alpha"),
    "CELU": settings.activation("celu", alpha="alpha"),
    "Softplus": settings.activation("softplus", beta="beta", threshold="threshold"),
    "Hardtanh": settings.activation("hardtanh", lower="min_val", upper="max_val"),
    "RReLU": settings.activation("rrelu", lower="lower", upper="upper"),
    "Softshrink": settings.activation("softshrink", threshold="lambd"),
    "Hardshrink": settings.activation("hardshrink", threshold="lambd"),
    "Threshold": settings.activation("threshold", threshold="threshold"),
    "Softmax": settings.activation("softmax", axis="dim"),
    "LogSoftmax": settings.activation("log_softmax", axis="dim"),
    "Softmax2d": lambda own: {"function": "softmax", "axis": -3},
    "GLU": settings.activation("glu", axis="dim"),
}
LOSSES: dict[str, settings.Reader] = {
    "CrossEntropyLoss": settings.loss("cross_entropy", ignored_label="ignore_index", label_smoothing="label_smoothing"),
    "NLLLoss": settings.loss("nll", ignored_label="ignore_index"),
    "MSELoss": settings.loss("mse"),
    "L1Loss": settings.loss("l1"),
    "SmoothL1Loss": settings.loss("smooth_l1", beta="beta"),
    "HuberLoss": settings.loss("huber", beta="delta"),
    "BCELoss": settings.loss("bce"),
    "BCEWithLogitsLoss": settings.loss("bce_logits"),
    "KLDivLoss": settings.loss("kl"),
    "MarginRankingLoss": settings.loss("margin_ranking", margin="margin"),
    "HingeEmbeddingLoss": settings.loss("hinge_embedding", margin="margin"),
    "CosineEmbeddingLoss": settings.loss("cosine_embedding", margin="margin"),
    "TripletMarginLoss": settings.loss("triplet_margin", margin="margin"),
    "CTCLoss": settings.loss("ctc"),
}
READERS |= {name: (kinds.ACTIVATION, reader) for name, reader in ACTIVATIONS.items()}
READERS |= {name: (kinds.LOSS, reader) for name, reader in LOSSES.items()}


def base_class(module: Any) -> type | None:
    """Return the framework's class that the module is or is derived from, None for a class of the user's own."""
    for own in type(module).__mro__:
        if own.__module__.startswith(FRAMEWORK) and own is not torch.nn.Module and own.__name__[:12] != "Parametrized":
            return own
    return None


def kind_of(module: torch.nn.Module) -> tuple[str, Mapping[str, Setting]]:
    """Return kind and settings of a module; a derived class with its own `forward` is of no known kind."""
    base = base_class(module)
    if base is not None and base.__name__ in READERS and type(module).forward is base.forward:
        kind, read = READERS[base.__name__]
        return kind, read(module)
    if isinstance(module, torch.nn.Sequential) and not len(module):
        return kinds.SHAPE, {"function": "identity"}
    inside = any(True for _ in module.children()) and not isinstance(module, torch.jit.ScriptModule)
    return (kinds.CONTAINER if inside else kinds.OTHER), {}


def walk(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Return all modules by path, each once, in order of definition; nothing inside a leaf."""
    found: dict[str, torch.nn.Module] = {}
    seen: set[int] = set()

    def visit(path: str, module: torch.nn.Module) -> None:
        if id(module) in seen:
            return
        seen.add(id(module))
        found[path] = module
        if kind_of(module)[0] == kinds.CONTAINER:
            for name, child in module.named_children():
                visit(f"{path}.{name}" if path else name, child)

    visit("", model)
    return found


def describe_modules(model: torch.nn.Module) -> tuple[Module, ...]:
    """Return a description of every module of `walk`."""
    found = walk(model)
    modes = {module: module.training for module in model.modules()}
    model.train()
    trainable = {path: module.training for path, module in found.items()}
    for module, mode in modes.items():
        module.training = mode
    paths = {id(module): path for path, module in found.items()}
    described = []
    for path, module in found.items():
        kind, read = kind_of(module)
        children = module.children() if kind == kinds.CONTAINER else ()
        # A module under two paths is a child of its first parent only.
        own = tuple(paths[id(child)] for child in children if paths[id(child)].rpartition(".")[0] == path)
        described.append(
            Module(path, class_name(module), kind, dict(read), own, trainable[path], note_of(module, kind))
        )
    return tuple(described)


def class_name(module: torch.nn.Module) -> str:
    """Return the class as the user knows it."""
    if isinstance(module, torch.jit.ScriptModule):
        return str(module.original_name)
    name = type(module).__name__
    return name.removeprefix("Parametrized") if torch.nn.utils.parametrize.is_parametrized(module) else name


def compiled(module: torch.nn.Module) -> bool:
    """Return whether the code of a module is compiled."""
    return isinstance(module, torch.jit.ScriptModule)


def note_of(module: torch.nn.Module, kind: str) -> str:
    """Return why a module cannot be followed, "" if it can."""
    name = class_name(module)
    if compiled(module):
        return f"{name} is compiled: it is compared as a whole"
    if weight_norms(module):
        return (
            f"{name} has weight normalization: its computed weight is compared; magnitudes and directions are trained"
        )
    base = base_class(module)
    if (
        kind == kinds.OTHER
        and base is not None
        and base.__name__ not in HOLDERS
        and any(True for _ in module.parameters())
    ):
        return f"{name} is not known: its parameters are compared in the framework's layout"
    return ""


def weight_norms(module: torch.nn.Module) -> dict[str, tuple[Any, Any, int | None]]:
    """Return the normalized weights of a module: magnitude, direction and axis by name."""
    found: dict[str, tuple[Any, Any, int | None]] = {}
    for hook in module._forward_pre_hooks.values():
        if type(hook).__name__ == "WeightNorm":
            axis = None if hook.dim == -1 else hook.dim
            found[hook.name] = (getattr(module, f"{hook.name}_g"), getattr(module, f"{hook.name}_v"), axis)
    for name, chain in (getattr(module, "parametrizations", None) or {}).items():
        if len(chain) == 1 and type(chain[0]).__name__ == "_WeightNorm":
            found[name] = (chain.original0, chain.original1, None if chain[0].dim == -1 else chain[0].dim)
    return found
