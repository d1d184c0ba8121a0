"""Recognition of the head in a state dict: one or two linear layers from the encoder to the classes."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

import numpy as np

from core.errors import UserError
from core.models.heads.pooling import JOINED, joined
from core.weights.choices import Choices
from core.weights.finders import Arrays, Part, join, shown
from core.weights.state_dict import listed

WIDER = {len(parts): pooling for pooling, parts in JOINED.items()}
"""Poolings that multiply the number of features, by their factor."""
OTHER_LAYOUT = {"out_in": "in_out", "in_out": "out_in"}
SHOWN_LAYOUT = {"out_in": "[out, in]", "in_out": "[in, out]"}

ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
"""Names of linear layers that are not taken as a hidden layer of the head."""


@dataclass(frozen=True)
class HeadFinder:
    """Find the linear layers from `features` to the classes, with at most one hidden layer.

    All remaining linear layers must form this chain, unless the choices name them; layers of an attention never belong
    to it. If the first layer reads 2 or 3 x `features`, pooling is `max_mean` or `last_max_mean`. If both orders fit,
    neutral names decide, then the order of the file if it has one (`ordered`).
    """

    arrays: Arrays
    where: str
    features: int
    layout: str
    ordered: bool
    choices: Choices

    def orders(self) -> list[tuple[str, ...]]:
        """Return every order of the linear layers that forms a chain, that of the file first.

        Raises UserError if the choices name no linear layer, or if no order forms a chain.
        """
        hidden, head, linear = self.choices.hidden, self.choices.head, self._linear()
        for argument, name in (("hidden", hidden), ("head", head)):
            if name is not None and name not in linear:
                raise UserError(
                    f"`{argument}` {name}: no linear layer of that name in {self.where}: choose one of {listed(linear)}"
                )
        if hidden is not None and head is None:
            raise UserError("`hidden` without `head`: give both")
        if head is None and set(linear) == {"head.hidden", "head"}:
            hidden, head = "head.hidden", "head"
        names = [name for name in (hidden, head) if name is not None]
        names = names or [name for name in linear if not ATTENTION.search(name)]
        orders = [tuple(names)] if head is not None else list(itertools.permutations(names)) if len(names) <= 2 else []
        fitting = [order for order in orders if self._is_chain(order, self.layout)]
        if fitting:
            return fitting
        found = listed([shown(join(name, "weight"), self.arrays[join(name, "weight")]) for name in linear]) or "none"
        if any(self._is_chain(order, OTHER_LAYOUT[self.layout]) for order in orders):
            other = OTHER_LAYOUT[self.layout]
            advice = f"give `layout` {other}, as they form one as {SHOWN_LAYOUT[other]}"
        else:
            advice = "name them with `head` NAME, and `hidden` NAME for a layer below it" if linear else "add them"
        raise UserError(
            f"{self.where}: the linear layers, read as {SHOWN_LAYOUT[self.layout]}, form no chain from the encoder's"
            f" {self.features} outputs through at most one hidden layer to the classes ({found}): {advice}"
        )

    def find(self) -> Part:
        """Return the head. Raises UserError if it is ambiguous or there is none."""
        fitting, part = self.orders(), Part()
        if len(fitting) > 1 and not self.ordered:
            both = " and ".join(fitting[0])
            raise UserError(f"{self.where}: {both} fit in both orders: give `hidden` NAME and `head` NAME")
        if len(fitting) > 1:
            part.assumed.append(f"{fitting[0][0]} before {fitting[0][1]}, as in the file, although both orders fit")
        for neutral, module in zip(("head.hidden", "head")[-len(fitting[0]) :], fitting[0], strict=True):
            self._take(part, neutral, module)
        outputs = len(part.arrays["head.weight"])
        part.changes = {"model.head.classes": max(outputs, 2), "model.head.one_logit": outputs == 1}
        first = "head.hidden" if "head.hidden" in part.modules else "head"
        factor = part.arrays[f"{first}.weight"].shape[1] // self.features
        if factor in WIDER:
            part.changes["model.head.pooling"] = WIDER[factor]
        if "head.hidden" in part.modules:
            part.changes["model.head.hidden_size"] = len(part.arrays["head.hidden.weight"])
        return part

    def _linear(self) -> list[str]:
        return [
            name.rpartition(".")[0]
            for name, array in self.arrays.items()
            if name.rpartition(".")[2] == "weight" and array.ndim == 2
        ]

    def _is_chain(self, order: tuple[str, ...], layout: str) -> bool:
        given = self.choices.pooling
        factors = (1, *WIDER) if given is None else (len(joined(given)),)
        return any(self._is_chain_from(factor * self.features, order, layout) for factor in factors)

    def _is_chain_from(self, width: int, order: tuple[str, ...], layout: str) -> bool:
        for module in order:
            own = self.choices.layouts.get(module, layout)
            outputs, inputs = self.arrays[join(module, "weight")].shape[:: 1 if own == "out_in" else -1]
            if inputs != width:
                return False
            width = outputs
        return bool(order)

    def _take(self, part: Part, neutral: str, module: str) -> None:
        weight, bias = join(module, "weight"), join(module, "bias")
        layout = self.choices.layouts.get(module, self.layout)
        array = self.arrays[weight] if layout == "out_in" else self.arrays[weight].T
        if len(array) == array.shape[1] and module not in self.choices.layouts:
            part.assumed.append(
                f"layout {SHOWN_LAYOUT[layout]} of {weight}, as usual in this kind of file: it is square"
            )
        part.modules[neutral] = module
        part.take(f"{neutral}.weight", weight, array)
        if bias not in self.arrays:
            part.arrays[f"{neutral}.bias"] = np.zeros(len(array), array.dtype)
            part.assumed.append(f"zeros for the bias that {module} lacks; build it with a bias")
        elif self.arrays[bias].shape != (len(array),):
            raise UserError(f"{self.where}: got {shown(bias, self.arrays[bias])}, expected shape {[len(array)]}")
        else:
            part.take(f"{neutral}.bias", bias, self.arrays[bias])
