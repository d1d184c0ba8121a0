"""Recognition of a head in a state dict: one or two linear layers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from core.errors import UserError
from core.weights.finders import Arrays, Part, join, shown

OTHER_LAYOUT = {"out_in": "in_out", "in_out": "out_in"}
SHOWN_LAYOUT = {"out_in": "[out, in]", "in_out": "[in, out]"}


@dataclass(frozen=True)
class LinearLayers:
    """The linear layers among the remaining arrays of a file."""

    arrays: Arrays
    where: str
    """The file, for errors."""
    layout: str
    """Layout of weights, `out_in` or `in_out`."""
    ordered: bool
    """Whether the file keeps the order of the layers."""

    @property
    def names(self) -> list[str]:
        """Module names."""
        return [
            name.rpartition(".")[0]
            for name, array in self.arrays.items()
            if name.rpartition(".")[2] == "weight" and array.ndim == 2
        ]

    def weight(self, module: str) -> np.ndarray:
        return self.arrays[join(module, "weight")]

    def is_chain(self, order: tuple[str, ...], features: int) -> bool:
        """Return whether these layers can follow one another, the first with `features` inputs."""
        width = features
        for module in order:
            outputs, inputs = self.weight(module).shape[:: 1 if self.layout == "out_in" else -1]
            if inputs != width:
                return False
            width = outputs
        return bool(order)

    def take(self, part: Part, neutral: str, module: str) -> None:
        """Add a layer to `part` by its neutral name, zeros for a missing bias."""
        weight, bias = join(module, "weight"), join(module, "bias")
        array = self.weight(module) if self.layout == "out_in" else self.weight(module).T
        if len(array) == array.shape[1]:
            usual = f"layout {SHOWN_LAYOUT[self.layout]} of {weight}, as usual in this kind of file: it is square"
            part.assumed.append(usual)
        part.modules[neutral] = module
        part.take(f"{neutral}.weight", weight, array)
        if bias not in self.arrays:
            part.arrays[f"{neutral}.bias"] = np.zeros(len(array), array.dtype)
            part.assumed.append(f"zeros for the bias that {module} lacks; build it with a bias")
        elif self.arrays[bias].shape != (len(array),):
            raise UserError(f"{self.where}: got {shown(bias, self.arrays[bias])}, expected shape {[len(array)]}")
        else:
            part.take(f"{neutral}.bias", bias, self.arrays[bias])


def find_head(linear: LinearLayers, features: int, hidden: str | None, head: str | None) -> Part:
    """Find the linear layers from `features` to the classes, with at most one hidden layer.

    All linear layers must form this chain, unless `head` (and `hidden`) name them. If both orders fit, neutral names
    decide, then the order of the file if it has one.
    """
    names, where, layout = linear.names, linear.where, linear.layout
    for argument, name in (("hidden", hidden), ("head", head)):
        if name is not None and name not in names:
            raise UserError(
                f"`{argument}` {name}: no linear layer of that name in {where}: choose one of {', '.join(names)}"
            )
    if hidden is not None and head is None:
        raise UserError("`hidden` without `head`: give both")
    if head is None and set(names) == {"head.hidden", "head"}:
        hidden, head = "head.hidden", "head"
    chosen = [name for name in (hidden, head) if name is not None] or names
    orders = [tuple(chosen)] if head is not None else list(itertools.permutations(chosen)) if len(chosen) <= 2 else []
    fitting = [order for order in orders if linear.is_chain(order, features)]
    if not fitting:
        listed = ", ".join(shown(join(name, "weight"), linear.weight(name)) for name in names) or "none"
        other = OTHER_LAYOUT[layout]
        if any(replace(linear, layout=other).is_chain(order, features) for order in orders):
            advice = f"give `layout` {other}, as they form one as {SHOWN_LAYOUT[other]}"
        else:
            advice = "name them with `head` NAME, and `hidden` NAME for a layer below it" if names else "add them"
        raise UserError(
            f"{where}: the linear layers, read as {SHOWN_LAYOUT[layout]}, form no chain from the encoder's {features}"
            f" outputs through at most one hidden layer to the classes ({listed}): {advice}"
        )
    part = Part()
    if len(fitting) > 1 and not linear.ordered:
        both = " and ".join(fitting[0])
        raise UserError(f"{where}: {both} fit in both orders: give `hidden` NAME and `head` NAME")
    if len(fitting) > 1:
        part.assumed.append(f"{fitting[0][0]} before {fitting[0][1]}, as in the file, although both orders fit")
    for neutral, module in zip(("head.hidden", "head")[-len(fitting[0]) :], fitting[0], strict=True):
        linear.take(part, neutral, module)
    outputs = len(part.arrays["head.weight"])
    part.changes = {"model.head.classes": max(outputs, 2), "model.head.one_logit": outputs == 1}
    if "head.hidden" in part.modules:
        part.changes["model.head.hidden_size"] = len(part.arrays["head.hidden.weight"])
    return part
