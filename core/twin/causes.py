"""Why the outputs of a layer differ although its inputs agree: settings, and whether equal ones repair it.

One setting at a time is changed to that of the other model, and the layer alone is called again; then pairs of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from core.twin.contract import Run, Side
from core.twin.kinds import (
    ACTIVATION,
    BATCH_NORM,
    FRAMEWORK_NAMES,
    GROUP_NORM,
    INSTANCE_NORM,
    LAYER_NORM,
    POOL,
    RECURRENT,
    RMS_NORM,
    UPSAMPLE,
)
from core.twin.naming import labels
from core.twin.recording import Arrays, Call, Module, Recording
from core.twin.settings import Values, differing, in_words, link_of, silent, value_text
from core.twin.sizes import figure
from core.twin.verdict import Cause

NORMALIZATIONS = (LAYER_NORM, BATCH_NORM, GROUP_NORM, INSTANCE_NORM, RMS_NORM)
ROUNDED_FUNCTIONS = ("selu", "hardsigmoid", "hardswish", "leaky_relu")
"""Activations whose constants Paddle rounds to float32 in float64 layers."""
ROUNDED = {ACTIVATION: 1e-6} | dict.fromkeys(NORMALIZATIONS, 1e-7)
"""Largest difference by kind that Paddle's float32 constants explain (docs/differences.md#float32_inside)."""


def may_round(module: Module) -> bool:
    """Return whether a backward pass of Paddle's float64 layers of this kind has constants in float32."""
    function = module.settings.get("function")
    if module.kind == ACTIVATION:
        return function in ROUNDED_FUNCTIONS
    if module.kind == POOL:
        return function != "max"
    return module.kind in (*NORMALIZATIONS, UPSAMPLE)


@dataclass(frozen=True)
class Both:
    """Two runs, and the sides that can call a layer again; without sides nothing is repaired."""

    first: Recording
    second: Recording
    sides: tuple[Side, Side] | None = None
    run: Run | None = None

    @property
    def frameworks(self) -> tuple[str, str]:
        """Return the names of both frameworks."""
        return self.first.framework, self.second.framework

    def paths(self, one: Call | None, two: Call | None) -> dict[str, str]:
        """Return the paths of a pair of calls by framework."""
        pair = zip(self.frameworks, (one, two), strict=True)
        return {name: call.path for name, call in pair if call is not None}

    def repeat(self, at: int, call: Call, settings: Mapping) -> Arrays | None:
        """Call a layer of one side again with other settings, None if that is not possible."""
        if self.sides is None or self.run is None:
            return None
        return self.sides[at].repeat(call.path, call.inputs, settings, self.run, call.lengths)


def inside(both: Both, one: Call, two: Call, limit: float) -> Cause:
    """Explain why a layer's outputs differ."""
    modules = both.first.module(one.path), both.second.module(two.path)
    paths, name = both.paths(one, two), labels(both.paths(one, two))
    kind, mode = modules[0].kind, both.first.mode
    settings = differing(*modules, one)
    quiet = silent(kind, mode)
    ranked = {key: own for key, own in settings.items() if key not in quiet}
    # A batch axis may differ on purpose, and does no harm if the arrays are turned alike.
    tried = {**ranked, **{key: own for key, own in settings.items() if key == "batch_first"}}
    for keys in (*((key,) for key in tried), *combinations(tried, 2)):
        if (how := repairs(both, one, two, {key: tried[key] for key in keys}, limit)) is not None:
            changes = "; ".join(in_words(key, tried[key], both.frameworks) for key in keys)
            sentence = f"{name}: {changes}; with {how} it agrees"
            return Cause(sentence, paths, "inside", keys[0], True, link_of(kind, keys[0]))
    if modules[0].trainable_mode != modules[1].trainable_mode and mode == "training":
        framework = both.frameworks[modules[0].trainable_mode]
        text = f"it stays in evaluation mode in {FRAMEWORK_NAMES.get(framework, framework)} when the model is trained"
        return Cause(f"{name}: {text}", paths, "inside", "mode")
    if (different := _values(both, one, two)) is not None:
        return Cause(f"{name}: {different}", paths, "parameters")
    if (argument := _arguments(both, one, two, kind)) is not None:
        lengths = "lengths" in argument
        return Cause(f"{name}: {argument}", paths, "inside" if lengths else "between", "lengths" if lengths else "")
    if ranked:
        changes = "; ".join(in_words(key, own, both.frameworks) for key, own in ranked.items())
        first = next(iter(ranked))
        return Cause(f"{name}: {changes}", paths, "inside", first, False, link_of(kind, first))
    classes = " and ".join(dict.fromkeys(own.class_name for own in modules))
    if kind != modules[1].kind:
        return Cause(f"{name}: {classes} compute different results", paths, "inside")
    return Cause(f"{name}: no setting that is known differs", paths, "inside")


def container_cause(both: Both, one: Call, two: Call, place: str) -> Cause | None:
    """Name a setting of the modules around two calls, such as the order of a Transformer's layer; None if all agree."""
    modules = [{own.path: own for own in side.modules} for side in (both.first, both.second)]
    here, there = one.path, two.path
    while here and there:
        here, there = here.rpartition(".")[0], there.rpartition(".")[0]
        pair = modules[0].get(here), modules[1].get(there)
        if pair[0] is None or pair[1] is None:
            continue
        settings = differing(pair[0], pair[1])
        if settings:
            changes = "; ".join(in_words(key, own, both.frameworks) for key, own in settings.items())
            name = labels(dict(zip(both.frameworks, (here, there), strict=True)))
            return Cause(f"{name}: {changes}", both.paths(one, two), place, next(iter(settings)))
    return None


def repairs(both: Both, one: Call, two: Call, settings: Mapping[str, Values], limit: float) -> str | None:
    """Return the values with which the layer agrees, in words; None if it does not, or cannot be called again."""
    for at, own, other in ((1, two, one), (0, one, two)):
        wanted = {key: values[1 - at] for key, values in settings.items()}
        outputs = both.repeat(at, own, wanted)
        if outputs is not None and (found := figure(outputs, other.outputs)) is not None and found <= limit:
            return " and ".join(f"{key} {value_text(value)}" for key, value in wanted.items())
    return None


def rounded_constant(both: Both, one: Call, two: Call, value: float, limit: float) -> Cause | None:
    """Explain a small difference by constants that Paddle rounds to float32 in float64 layers, None if it is larger."""
    modules = both.first.module(one.path), both.second.module(two.path)
    kind = modules[0].kind
    if kind != modules[1].kind or not value <= ROUNDED.get(kind, 0.0):
        return None
    if kind == ACTIVATION and modules[0].settings.get("function") not in ROUNDED_FUNCTIONS:
        return None
    settings = rounded_away(differing(*modules, one), silent(kind, both.first.mode))
    if settings:
        return None
    name, proof = labels(both.paths(one, two)), ""
    epsilon = modules[0].settings.get("epsilon")
    if isinstance(epsilon, float):
        rounded = float(np.float32(epsilon))
        outputs = both.repeat(0, one, {"epsilon": rounded})
        if outputs is not None and (found := figure(outputs, two.outputs)) is not None:
            if found > limit:
                return None
            proof = f"; with epsilon {rounded!r} it agrees"
    sentence = f"{name}: PaddlePaddle rounds constants of float64 layers to float32, which changes {value:.1e}{proof}"
    return Cause(sentence, both.paths(one, two), "inside", "", bool(proof), "float32_inside")


def rounded_away(settings: Mapping[str, Values], quiet: Sequence[str]) -> list[str]:
    """Return the settings that differ and act on outputs."""
    return [key for key in settings if key not in quiet]


def warnings_of(both: Both, one: Call, two: Call) -> list[tuple[str, str]]:
    """Return the settings of a pair that differ without an effect on its outputs: names, and words."""
    modules: tuple[Module, Module] = both.first.module(one.path), both.second.module(two.path)
    paths = both.paths(one, two)
    return [
        (key, f"{labels(paths)}: {in_words(key, values, both.frameworks)}")
        for key, values in differing(*modules, one).items()
        if key != "batch_first"
    ]


def _values(both: Both, one: Call, two: Call) -> str | None:
    """Return the parameters of a layer that one model lacks, in words."""
    counts = [
        sorted(own.role for own in side.parameters if own.module == call.path and not own.buffer)
        for side, call in zip((both.first, both.second), (one, two), strict=True)
    ]
    if both.first.module(one.path).kind != both.second.module(two.path).kind:
        return None
    for at in (0, 1):
        only = [role for role in counts[at] if role not in counts[1 - at]]
        if only:
            framework = both.frameworks[at]
            return f"{', '.join(only)} in {FRAMEWORK_NAMES.get(framework, framework)} only"
    return None


def _arguments(both: Both, one: Call, two: Call, kind: str) -> str | None:
    """Return what only one of the calls gets, in words."""
    names = [FRAMEWORK_NAMES.get(own, own) for own in both.frameworks]
    if (one.lengths is None) != (two.lengths is None):
        return f"lengths of the sequences are given in {names[one.lengths is None]} only"
    if one.lengths is not None and two.lengths is not None and not np.array_equal(one.lengths, two.lengths):
        return f"lengths are {one.lengths.tolist()} in {names[0]}, {two.lengths.tolist()} in {names[1]}"
    if len(one.inputs) != len(two.inputs):
        more = int(len(two.inputs) > len(one.inputs))
        routes = sorted((two if more else one).inputs.keys() - (one if more else two).inputs.keys())
        if kind == RECURRENT:
            return f"initial states are given in {names[more]} only"
        return f"argument {', '.join(routes)} is given in {names[more]} only"
    return None
