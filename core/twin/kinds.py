"""Neutral names of layers, their parameters and their settings.

Both sides describe their modules in these words (`backends/*/twin/modules.py`). A setting whose convention differs
between the frameworks has PyTorch's: the `momentum` of a normalization is the share of the new value.
"""

from __future__ import annotations

from typing import Final

LINEAR: Final = "linear"
EMBEDDING: Final = "embedding"
LAYER_NORM: Final = "layer_norm"
RMS_NORM: Final = "rms_norm"
BATCH_NORM: Final = "batch_norm"
GROUP_NORM: Final = "group_norm"
INSTANCE_NORM: Final = "instance_norm"
CONV: Final = "conv"
CONV_TRANSPOSED: Final = "conv_transposed"
POOL: Final = "pool"
UPSAMPLE: Final = "upsample"
RECURRENT: Final = "recurrent"
"""RNN, LSTM and GRU over a sequence; `cell` is a setting."""
CELL: Final = "cell"
"""One step of RNN, LSTM and GRU."""
ATTENTION: Final = "attention"
"""Multi-head attention with projections q, k, v and out."""
DROPOUT: Final = "dropout"
ACTIVATION: Final = "activation"
"""Functions without parameters and PReLU; `function` is a setting: relu, gelu, softmax, ..."""
SHAPE: Final = "shape"
"""Flatten, Unflatten, Identity, Pad."""
LOSS: Final = "loss"
CONTAINER: Final = "container"
"""A module with children whose class is not listed: its own code calls them."""
OTHER: Final = "other"
"""A module without children whose class is not listed."""

SETTINGS: Final[dict[str, tuple[str, ...]]] = {
    LINEAR: ("inputs", "outputs", "bias"),
    EMBEDDING: ("rows", "dim", "padding_id", "max_norm", "scale_by_frequency", "sparse"),
    LAYER_NORM: ("shape", "epsilon", "weight", "bias"),
    RMS_NORM: ("shape", "epsilon", "weight"),
    BATCH_NORM: ("features", "epsilon", "momentum", "affine", "running_statistics"),
    GROUP_NORM: ("groups", "features", "epsilon", "affine"),
    INSTANCE_NORM: ("features", "epsilon", "momentum", "affine", "running_statistics"),
    CONV: ("axes", "inputs", "outputs", "kernel", "stride", "padding", "dilation", "groups", "padding_mode", "bias"),
    CONV_TRANSPOSED: (
        *("axes", "inputs", "outputs", "kernel", "stride", "padding", "dilation", "groups", "output_padding", "bias"),
    ),
    POOL: (*("axes", "function", "adaptive", "kernel", "stride", "padding", "ceil_mode", "count_padding", "output"),),
    UPSAMPLE: ("function", "size", "scale", "align_corners"),
    RECURRENT: (
        *("cell", "inputs", "hidden", "layers", "directions", "activation", "bias", "dropout", "batch_first"),
        "projection",
    ),
    CELL: ("cell", "inputs", "hidden", "activation", "bias"),
    ATTENTION: ("dim", "heads", "dropout", "bias", "key_dim", "value_dim", "batch_first", "add_bias_kv"),
    DROPOUT: ("function", "rate", "scale_at", "axes"),
    ACTIVATION: ("function", "approximate", "slope", "axis", "alpha", "beta", "threshold", "lower", "upper"),
    SHAPE: ("function", "start", "end", "padding", "value"),
    LOSS: ("function", "reduction", "ignored_label", "weights", "label_smoothing", "beta", "margin"),
    CONTAINER: ("norm_first", "activation"),
}
"""Settings of each kind; those of a container are known for the layers of a Transformer alone. `function` of dropout
is `bernoulli` or `alpha`, `scale_at` is `training` or `evaluation`, and `axes` are those that share a mask.
Sizes per axis (`kernel`, `stride`, ...) are tuples of ints, `padding` also `same` or `valid`."""

TRAINING_ONLY: Final = {
    DROPOUT: ("rate", "axes"),
    BATCH_NORM: ("momentum",),
    INSTANCE_NORM: ("momentum",),
    RECURRENT: ("dropout",),
    ATTENTION: ("dropout",),
}
"""Settings that change nothing in evaluation mode."""
GRADIENT_ONLY: Final = {EMBEDDING: ("padding_id", "scale_by_frequency", "sparse")}
"""Settings that change gradients, but no output. `padding_id` also makes Paddle's outputs of it zero."""
ALLOWED: Final = {RECURRENT: ("batch_first",), ATTENTION: ("batch_first",)}
"""Settings that may differ, as arrays are compared up to a permutation of axes."""

MODES: Final = ("evaluation", "training")
FRAMEWORK_NAMES: Final = {"torch": "PyTorch", "paddle": "PaddlePaddle"}
