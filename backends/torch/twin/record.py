"""Recording of all calls of a PyTorch model in one run, with the gradients of their outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from backends.torch.framework import torch
from backends.torch.twin.calls import Entry, apart, entries, floating, inputs_of, outputs_of, used_inside
from backends.torch.twin.modules import walk, weight_norms
from backends.torch.twin.parameters import as_array
from core.twin.recording import Call
from core.twin.routes import user_line

SKIPPED = (str(Path(torch.__file__).parent), str(Path(__file__).parents[3] / "backends"))
"""Folders whose lines are not the user's."""


@dataclass
class Raw:
    """A call under construction."""

    path: str
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    lengths: np.ndarray | None
    place: str
    gradients: dict[str, np.ndarray] = field(default_factory=dict)


class Recorder:
    """Calls of the modules of a model, in order of their end."""

    def __init__(self, model: torch.nn.Module, backward: bool) -> None:
        """Record the modules of `walk`, and gradients of outputs if `backward`."""
        self.modules = walk(model)
        self.backward = backward
        self.raw: list[Raw] = []
        self.stack: list[tuple[str, Any]] = []
        self.weights: dict[str, np.ndarray] = {}
        """Gradients of normalized weights by neutral name."""
        self.seen: dict[int, tuple[Any, int, np.ndarray]] = {}
        self.watched: dict[str, Any] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Wrap `forward` of every module for a while."""
        changed = []
        try:
            for path, module in self.modules.items():
                before = vars(module).get("forward")
                changed.append((module, before))
                vars(module)["forward"] = self.wrapped(path, module, module.forward)
            yield
        finally:
            for module, before in changed:
                del vars(module)["forward"]
                if before is not None:
                    vars(module)["forward"] = before

    def wrapped(self, path: str, module: Any, forward: Callable) -> Callable:
        """Return `forward` of a module that records its calls."""

        def call(*args: Any, **kwargs: Any) -> Any:
            place = user_line(SKIPPED) if path else ""
            given, lengths = inputs_of(module, args, kwargs)
            inputs = {route: self.array(own) for route, own in given.items()}
            self.watch_weights(path, module)
            self.stack.append((path, module))
            try:
                outputs = forward(*args, **kwargs)
            finally:
                self.stack.pop()
            taken = {id(own.tensor) for own in entries((args, kwargs)).values()} | used_inside(module, outputs)
            outputs = apart(outputs, taken)
            found = outputs_of(module, outputs, lengths)
            raw = Raw(path, inputs, {route: self.array(own) for route, own in found.items()}, lengths, place)
            self.raw.append(raw)
            if self.backward:
                for route, own in found.items():
                    self.watch(own, raw, route)
            return outputs

        return call

    def watch(self, entry: Entry, raw: Raw, route: str) -> None:
        """Have the gradient of an output kept when it is computed."""
        if not entry.watched or not floating(entry.tensor) or not entry.tensor.requires_grad:
            return

        def keep(gradient: Any) -> None:
            found = entry.array(gradient)
            if found.any():  # Paddle gives zeros for an output that is not used, PyTorch nothing
                raw.gradients[route] = found

        entry.tensor.register_hook(keep)

    def watch_weights(self, path: str, module: Any) -> None:
        """Have the gradients of normalized weights, which are no parameters, kept and summed over calls."""
        if not self.backward:
            return
        for name in weight_norms(module):
            role = f"{path}.{name}" if path else name
            weight = getattr(module, name)
            if not weight.requires_grad or self.watched.get(role) is weight:
                continue
            self.watched[role] = weight

            def keep(gradient: Any, role: str = role) -> None:
                own = as_array(gradient)
                self.weights[role] = self.weights[role] + own if role in self.weights else own

            weight.register_hook(keep)

    def array(self, entry: Entry) -> np.ndarray:
        """Return the values of a tensor; the same tensor is copied once."""
        if entry.view is not None:
            return entry.array(entry.tensor)
        known = self.seen.get(id(entry.tensor))
        version = entry.tensor._version
        if known is None or known[1] != version:
            known = self.seen[id(entry.tensor)] = (entry.tensor, version, entry.array(entry.tensor))
        return known[2]

    def calls(self) -> tuple[Call, ...]:
        """Return all calls."""
        return tuple(
            Call(number, own.path, own.inputs, own.outputs, own.lengths, own.gradients, own.place)
            for number, own in enumerate(self.raw)
        )
