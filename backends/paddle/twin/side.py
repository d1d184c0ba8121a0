"""A Paddle model in a comparison."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from backends.paddle.framework import paddle
from backends.paddle.twin import casting, parameters, record, repair, steps
from backends.paddle.twin.calls import Entry, floating, outputs_of, tensor_of
from backends.paddle.twin.dropout import shared_masks, without_inner_dropout
from backends.paddle.twin.modules import compiled, describe_modules, walk, weight_norms
from core.errors import UserError
from core.twin import routes
from core.twin.contract import Optimization, Run
from core.twin.failing import marked
from core.twin.inputs import loss_weights
from core.twin.recording import Arrays, Module, Parameter, Recording, Setting, Step


class TwinSide:
    """A Paddle model in a comparison (`core.twin.contract.Side`)."""

    framework = "paddle"
    version = paddle.__version__

    def __init__(
        self,
        model: Any,
        name: str = "",
        loss: Callable | None = None,
        optimizer: Callable | None = None,
    ) -> None:
        """Wrap a model. Raises UserError if it is none of this framework."""
        if not isinstance(model, paddle.nn.Layer):
            raise UserError(f"{name or 'the model'}: got {type(model).__name__}, expected a paddle.nn.Layer")
        self.model = model
        self.name = name or type(model).__name__
        self.loss = loss
        self.optimizer = optimizer

    def describe(self) -> tuple[tuple[Module, ...], tuple[Parameter, ...]]:
        """Return modules and parameters."""
        return describe_modules(self.model), parameters.describe_parameters(self.model)

    def write(self, values: Mapping[str, np.ndarray]) -> None:
        """Write parameters and buffers by neutral name, in the neutral layout. Raises UserError for other shapes."""
        parameters.write(self.model, values)

    def run(self, how: Run) -> Recording:
        """Run the model once, forward and backward. Errors of the user's code pass through."""
        start = time.perf_counter()
        modules, described = self.describe()
        recorder = record.Recorder(self.model, how.backward)
        notes: list[str] = []
        with ExitStack() as stack:
            stack.enter_context(casting.casted(self.model, how.dtype))
            stack.enter_context(self.ready(how, notes))
            drawn = stack.enter_context(casting.seeded(how.seed))
            masks = stack.enter_context(shared_masks(self.model, how.seed, recorder.stack))
            before = {path: casting.attributes_of(module) for path, module in recorder.modules.items()}
            leaves = self.leaves(how.inputs, how.dtype)
            args, kwargs = routes.nest({route: paddle.assign(own) for route, own in leaves.items()})
            with marked(*self.failure(how)), recorder.recording():
                outputs = self.model(*args, **kwargs)
            found = outputs_of(self.model, outputs, None)
            loss = self.loss_of(outputs, kwargs, args, how.seed) if how.backward else None
            if loss is not None and not loss.stop_gradient:
                loss.backward()
            elif how.backward:
                notes.append("no output depends on a parameter that is trained: there are no gradients")
            gradients = parameters.gradients(self.model, recorder.weights)
            input_gradients = {
                route: parameters.as_array(own.grad) for route, own in leaves.items() if own.grad is not None
            }
            after = parameters.values(self.model, buffers=True)
            notes += self.state_notes(recorder.modules, before)
        if drawn:
            notes.append("the model draws random numbers besides dropout: these differ between the frameworks")
        return Recording(
            self.framework,
            self.version,
            how.dtype,
            how.mode,
            how.seed,
            modules,
            described,
            how.inputs,
            recorder.calls(),
            {route: own.array(own.tensor) for route, own in found.items()},
            None if loss is None else float(loss.detach()),
            gradients,
            input_gradients,
            after,
            tuple(masks.calls),
            tuple(notes),
            time.perf_counter() - start,
        )

    def failure(self, how: Run) -> tuple[str, str]:
        """Return what to tell of an exception of `forward`, and the fix."""
        found = any(compiled(module) for module in walk(self.model).values())
        fix = (
            "compiled code may keep its number type: give the class that it comes from" if found else "check the inputs"
        )
        return f"{self.name}: forward failed in {how.dtype}, {how.mode} mode", fix

    def ready(self, how: Run, notes: list[str]) -> ExitStack:
        """Set the mode of the model, and return what restores the framework's settings."""
        stack = ExitStack()
        stack.enter_context(paddle.set_grad_enabled(True))
        stack.enter_context(casting.uncompiled())
        self.model.train() if how.mode == "training" else self.model.eval()
        paths = {id(own): path or "the model" for path, own in walk(self.model).items()}
        for module, rate in without_inner_dropout(self.model):
            stack.callback(setattr, module, "dropout", rate)
            if how.mode == "training":
                notes.append(f"dropout inside {paths[id(module)]} ({rate:g}) cannot be shared: it was 0 in this run")
        for module in self.model.sublayers(include_self=True):
            # These have no backward pass in evaluation mode on the CPU: docs/differences.md#eval_backward
            if how.backward and not module.training and isinstance(module, paddle.nn.layer.rnn.RNNBase):
                module.training = True
                notes.append(
                    f"{paths.get(id(module), 'a recurrent layer')} has no backward pass in evaluation mode on the CPU:"
                    " it ran in training mode without dropout"
                )
        return stack

    def leaves(self, inputs: Arrays, dtype: str) -> dict[str, Any]:
        """Return the arguments as tensors by route, floating-point ones with gradients."""
        found = {route: tensor_of(array, dtype, None) for route, array in inputs.items()}
        for own in found.values():
            own.stop_gradient = not floating(own)
        return found

    def tensors(self, inputs: Arrays, dtype: str) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of the model, positions and keywords."""
        return routes.nest({route: own.detach() for route, own in self.leaves(inputs, dtype).items()})

    def arrays(self, outputs: Any) -> Arrays:
        """Return all tensors of a result by route."""
        return {route: own.array(own.tensor) for route, own in outputs_of(self.model, outputs, None).items()}

    def loss_of(self, outputs: Any, kwargs: Mapping[str, Any], args: list[Any], seed: int) -> Any:
        """Return the loss: the user's, or the weighted sum of all floating-point outputs."""
        if self.loss is not None:
            return self.loss(outputs, {**{str(at): own for at, own in enumerate(args)}, **kwargs})
        found = [own for own in outputs_of(self.model, outputs, None).values() if floating(own.tensor)]
        return sum((self.weighted(own, seed, number) for number, own in enumerate(found)), paddle.zeros([]))

    def weighted(self, entry: Entry, seed: int, number: int) -> Any:
        """Return the share of one output in the default loss."""
        own = entry.tensor if entry.view is None else entry.view(entry.tensor)
        weights = paddle.to_tensor(np.ascontiguousarray(loss_weights(tuple(own.shape), seed, number)))
        return (own * weights.astype(own.dtype)).sum() / max(int(own.size), 1)

    def state_notes(self, modules: Mapping[str, Any], before: Mapping[str, dict[str, Any]]) -> list[str]:
        """Return the modules that keep tensors between calls."""
        found = []
        for path, module in modules.items():
            names = [] if weight_norms(module) else casting.kept_between_calls(module, before[path])
            found += [
                f"{path or 'the model'} keeps `{name}` between calls: it starts anew in every run" for name in names
            ]
        return found

    def find(self, path: str) -> Any:
        """Return the module at `path`. Raises KeyError."""
        return walk(self.model)[path]

    def repeat(
        self, path: str, inputs: Arrays, settings: Mapping[str, Setting], how: Run, lengths: np.ndarray | None = None
    ) -> Arrays | None:
        """Call the leaf at `path` alone with recorded `inputs` and changed `settings`; return its outputs."""
        return repair.repeat(self, path, inputs, settings, how, lengths)

    def train(self, how: Run, batches: list[Arrays], optimization: Optimization) -> list[Step]:
        """Train on the `batches` in turn and return all steps; afterwards the model has its former values."""
        return steps.train(self, how, batches, optimization)
