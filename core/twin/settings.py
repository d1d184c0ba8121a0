"""Settings of two layers that differ, in words."""

from __future__ import annotations

import math

from core.twin.kinds import (
    ACTIVATION,
    ALLOWED,
    BATCH_NORM,
    DROPOUT,
    EMBEDDING,
    FRAMEWORK_NAMES,
    GRADIENT_ONLY,
    GROUP_NORM,
    INSTANCE_NORM,
    LAYER_NORM,
    LOSS,
    RECURRENT,
    RMS_NORM,
    SHAPE,
    TRAINING_ONLY,
)
from core.twin.recording import Call, Module, Setting

EQUAL = 1e-6
"""Largest relative difference of equal settings: Paddle rounds some to float32."""
AXES = {ACTIVATION: ("axis",), SHAPE: ("start", "end")}
"""Settings that count axes, from either end."""
LINKS = {
    (DROPOUT, "scale_at"): "dropout_mode",
    (RECURRENT, "batch_first"): "batch_axis",
    (BATCH_NORM, "momentum"): "batch_norm",
    (INSTANCE_NORM, "momentum"): "batch_norm",
    (EMBEDDING, "padding_id"): "padding_row",
    (ACTIVATION, "axis"): "softmax_axis",
    (ACTIVATION, "approximate"): "activations",
    (LOSS, "ignored_label"): "ignored_labels",
    (LOSS, "label_smoothing"): "label_smoothing",
    **{(kind, "epsilon"): "normalization" for kind in (LAYER_NORM, BATCH_NORM, GROUP_NORM, INSTANCE_NORM, RMS_NORM)},
}
"""Entries of docs/differences.md by kind and setting."""

Values = tuple[Setting, Setting]


def differing(one: Module, two: Module, call: Call | None = None) -> dict[str, Values]:
    """Return the values of all settings that differ, by name; of modules of different kinds none.

    Axes are counted in the first input of `call`.
    """
    if one.kind != two.kind:
        return {}
    axes = max((own.ndim for own in call.inputs.values()), default=0) if call is not None else 0
    found = {}
    for name, value in one.settings.items():
        if name not in two.settings:
            continue
        values = (value, two.settings[name])
        if name in AXES.get(one.kind, ()) and axes:
            counted = tuple(own % axes if isinstance(own, int) else own for own in values)
            if counted[0] == counted[1]:
                continue
        if not _equal(*values):
            found[name] = values
    return found


def _equal(one: Setting, two: Setting) -> bool:
    if isinstance(one, int | float) and isinstance(two, int | float) and not isinstance(one, bool):
        return math.isclose(one, two, rel_tol=EQUAL)
    if isinstance(one, tuple) and isinstance(two, tuple) and len(one) == len(two):
        return all(map(_equal, one, two))
    return one == two


def silent(kind: str, mode: str) -> tuple[str, ...]:
    """Return the settings of a kind that change no output in this mode; batch axes may differ on purpose."""
    training = TRAINING_ONLY.get(kind, ()) if mode == "evaluation" else ()
    momentum = ("momentum",) if kind in (BATCH_NORM, INSTANCE_NORM) else ()
    gradients = tuple(name for name in GRADIENT_ONLY.get(kind, ()) if name != "padding_id")
    return (*training, *momentum, *gradients, *ALLOWED.get(kind, ()))


def in_words(name: str, values: Values, frameworks: tuple[str, str]) -> str:
    """Return `epsilon 1e-05 in PyTorch, 1e-12 in PaddlePaddle`."""
    texts = [
        f"{value_text(value)} in {FRAMEWORK_NAMES.get(own, own)}" for value, own in zip(values, frameworks, strict=True)
    ]
    return f"{name} {', '.join(texts)}"


def value_text(value: Setting) -> str:
    """Return the value of a setting as the user knows it."""
    if isinstance(value, float):
        return f"{value:g}"
    return f"({', '.join(map(value_text, value))})" if isinstance(value, tuple) else str(value)


def link_of(kind: str, name: str) -> str:
    """Return the entry of docs/differences.md on a setting, "" if there is none."""
    return LINKS.get((kind, name), "")
