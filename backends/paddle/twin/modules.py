"""Modules of a Paddle model: paths, kinds and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backends.paddle.framework import paddle
from backends.paddle.twin import settings
from core.twin import kinds
from core.twin.recording import Module, Setting

FRAMEWORK = "paddle."
"""Package of the framework's own layers."""
AXES = ((1, "1D"), (2, "2D"), (3, "3D"))

HOLDERS = ("ParameterList", "ParameterDict")
"""Classes that hold parameters and compute nothing."""
LOADED = ("TranslatedLayer", "PirTranslatedLayer")
"""Classes of `paddle.jit.load`."""

READERS: dict[str, tuple[str, settings.Reader]] = {
    "Linear": (kinds.LINEAR, settings.linear),
    "Embedding": (kinds.EMBEDDING, settings.embedding),
    "LayerNorm": (kinds.LAYER_NORM, settings.layer_norm),
    "GroupNorm": (kinds.GROUP_NORM, settings.group_norm),
    "BatchNorm": (kinds.BATCH_NORM, settings.batch_norm),
    "SyncBatchNorm": (kinds.BATCH_NORM, settings.batch_norm),
    "Upsample": (kinds.UPSAMPLE, settings.upsample),
    "UpsamplingNearest2D": (kinds.UPSAMPLE, settings.upsample),
    "UpsamplingBilinear2D": (kinds.UPSAMPLE, settings.upsample),
    "SimpleRNN": (kinds.RECURRENT, settings.recurrent("rnn")),
    "LSTM": (kinds.RECURRENT, settings.recurrent("lstm")),
    "GRU": (kinds.RECURRENT, settings.recurrent("gru")),
    "SimpleRNNCell": (kinds.CELL, settings.cell("rnn")),
    "LSTMCell": (kinds.CELL, settings.cell("lstm")),
    "GRUCell": (kinds.CELL, settings.cell("gru")),
    "MultiHeadAttention": (kinds.ATTENTION, settings.attention),
    "MultiheadAttention": (kinds.ATTENTION, settings.attention),
    "Dropout": (kinds.DROPOUT, settings.dropout(())),
    "AlphaDropout": (kinds.DROPOUT, settings.dropout((), "alpha")),
    "FeatureAlphaDropout": (kinds.DROPOUT, settings.dropout((2,), "alpha")),
    "Flatten": (kinds.SHAPE, settings.shape("flatten", start="start_axis", end="stop_axis")),
    "Unflatten": (kinds.SHAPE, settings.shape("unflatten", start="axis")),
    "Identity": (kinds.SHAPE, settings.shape("identity")),
    "PixelShuffle": (kinds.SHAPE, settings.shape("pixel_shuffle", value="_upscale_factor")),
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
        f"Conv{_name}Transpose": (kinds.CONV_TRANSPOSED, settings.convolution(_axes, True)),
        f"AvgPool{_name}": (kinds.POOL, settings.pool(_axes, "average")),
        f"MaxPool{_name}": (kinds.POOL, settings.pool(_axes, "max")),
        f"AdaptiveAvgPool{_name}": (kinds.POOL, settings.adaptive_pool(_axes, "average")),
        f"AdaptiveMaxPool{_name}": (kinds.POOL, settings.adaptive_pool(_axes, "max")),
        f"Dropout{_name}": (kinds.DROPOUT, settings.dropout(_shared)),
        f"Pad{_name}": (kinds.SHAPE, settings.padding(_axes, "pad_constant")),
        f"ZeroPad{_name}": (kinds.SHAPE, settings.padding(_axes, "pad_constant")),
        f"ConstantPad{_name}": (kinds.SHAPE, settings.padding(_axes, "pad_constant")),
        f"ReflectionPad{_name}": (kinds.SHAPE, settings.padding(_axes, "pad_reflect")),
        f"ReplicationPad{_name}": (kinds.SHAPE, settings.padding(_axes, "pad_replicate")),
        f"CircularPad{_name}": (kinds.SHAPE, settings.padding(_axes, "pad_circular")),
    }

ACTIVATIONS: dict[str, settings.Reader] = {
    **{
        name: settings.activation(name.lower())
        for name in ("ReLU", "ReLU6", "Silu", "SELU", "Sigmoid", "Tanh", "Tanhshrink", "Softsign", "Mish", "Hardswish")
    },
    "Hardsigmoid": settings.activation("hardsigmoid"),
    "LogSigmoid": settings.activation("log_sigmoid"),
    "Swish": settings.activation("silu"),
    "PReLU": settings.activation("prelu"),
    "GELU": lambda own: {
        "function": "gelu",
        "approximate": {True: "tanh", False: "none"}.get(own._approximate, own._approximate),
    },
    "LeakyReLU": settings.activation("leaky_relu", slope="_negative_slope"),
    "ELU": settings.activation("elu", alpha="_alpha"),
    "CELU": settings.activation("celu", alpha="_alpha"),
    "Softplus": settings.activation("softplus", beta="_beta", threshold="_threshold"),
    "Hardtanh": settings.activation("hardtanh", lower="_min", upper="_max"),
    "RReLU": settings.activation("rrelu", lower="_lower", upper="_upper"),
    "Softshrink": settings.activation("softshrink", threshold="_threshold"),
    "Hardshrink": settings.activation("hardshrink", threshold="_threshold"),
    "ThresholdedReLU": settings.activation("threshold", threshold="_threshold"),
    "Softmax": lambda own: {"function": "softmax", "axis": own._axis if hasattr(own, "_axis") else own._dim},
    "LogSoftmax": settings.activation("log_softmax", axis="_axis"),
    "Softmax2D": lambda own: {"function": "softmax", "axis": -3},
    "GLU": settings.activation("glu", axis="_axis"),
}
LOSSES: dict[str, settings.Reader] = {
    "CrossEntropyLoss": settings.loss("cross_entropy", ignored_label="ignore_index", label_smoothing="label_smoothing"),
    "NLLLoss": settings.loss("nll", ignored_label="_ignore_index"),
    "MSELoss": settings.loss("mse"),
    "L1Loss": settings.loss("l1"),
    # Paddle's is Huber's loss unless `is_huber` is False: docs/differences.md#smooth_l1
    "SmoothL1Loss": lambda own: settings.loss("huber" if getattr(own, "is_huber", True) else "smooth_l1", beta="delta")(
        own
    ),
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
        if own.__module__.startswith(FRAMEWORK) and own is not paddle.nn.Layer:
            return own
    return None


def kind_of(module: paddle.nn.Layer) -> tuple[str, Mapping[str, Setting]]:
    """Return kind and settings of a module; a derived class with its own `forward` is of no known kind."""
    base = base_class(module)
    if base is not None and base.__name__ in READERS and type(module).forward is base.forward:
        kind, read = READERS[base.__name__]
        return kind, read(module)
    if base is not None and base.__name__ in ("RNN", "BiRNN") and type(module).forward is base.forward:
        cell = base_class(settings.first_cell(module))
        if cell is not None and READERS.get(cell.__name__, ("",))[0] == kinds.CELL:
            return kinds.RECURRENT, settings.wrapper(module)
    if isinstance(module, paddle.nn.Sequential) and not len(module):
        return kinds.SHAPE, {"function": "identity"}
    return (kinds.CONTAINER if any(True for _ in module.children()) else kinds.OTHER), {}


def walk(model: paddle.nn.Layer) -> dict[str, paddle.nn.Layer]:
    """Return all modules by path, each once, in order of definition; nothing inside a leaf."""
    found: dict[str, paddle.nn.Layer] = {}
    seen: set[int] = set()

    def visit(path: str, module: paddle.nn.Layer) -> None:
        if id(module) in seen:
            return
        seen.add(id(module))
        found[path] = module
        if kind_of(module)[0] == kinds.CONTAINER:
            for name, child in module.named_children():
                visit(f"{path}.{name}" if path else name, child)

    visit("", model)
    return found


def describe_modules(model: paddle.nn.Layer) -> tuple[Module, ...]:
    """Return a description of every module of `walk`."""
    found = walk(model)
    modes = [(module, module.training) for module in model.sublayers(include_self=True)]
    model.train()
    trainable = {path: module.training for path, module in found.items()}
    for module, mode in modes:
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


def class_name(module: paddle.nn.Layer) -> str:
    """Return the class as the user knows it."""
    return type(module).__name__


def compiled(module: paddle.nn.Layer) -> bool:
    """Return whether the code of a module is compiled."""
    return type(module).__name__ in LOADED


def note_of(module: paddle.nn.Layer, kind: str) -> str:
    """Return why a module cannot be followed, "" if it can."""
    name = class_name(module)
    if compiled(module):
        return f"{name} is compiled: it is compared as a whole"
    if weight_norms(module):
        return (
            f"{name} has weight normalization: its computed weight is compared; magnitudes and directions are trained"
        )
    base = base_class(module)
    if kind == kinds.OTHER and base is not None and base.__name__ not in HOLDERS and module.parameters():
        return f"{name} is not known: its parameters are compared in the framework's layout"
    return ""


def weight_norms(module: paddle.nn.Layer) -> dict[str, tuple[Any, Any, int | None]]:
    """Return the normalized weights of a module: magnitude, direction and axis by name."""
    found: dict[str, tuple[Any, Any, int | None]] = {}
    for hook in module._forward_pre_hooks.values():
        if type(hook).__name__ == "WeightNorm":
            axis = None if hook.dim == -1 else hook.dim
            found[hook.name] = (getattr(module, f"{hook.name}_g"), getattr(module, f"{hook.name}_v"), axis)
    return found
