"""A PyTorch model in another precision for a while, with everything restored afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np

from backends.torch.framework import torch
from backends.torch.twin.modules import kind_of
from backends.torch.twin.parameters import assign, exact_values, rescale_directions
from core.twin import kinds

NORMS = (kinds.LAYER_NORM, kinds.BATCH_NORM, kinds.GROUP_NORM, kinds.INSTANCE_NORM)
NARROW = (torch.float32, torch.float16, torch.bfloat16)


@contextmanager
def casted(model: torch.nn.Module, dtype: str) -> Iterator[None]:
    """Cast a model's floating-point arrays to `dtype`; restore arrays, gradients, modes and attributes afterwards.

    In float64, written values are the exact ones, directions of weight normalization have the size of the weight (on
    which training depends), and epsilons are rounded as in Paddle.
    """
    # The arrays of compiled modules are restored, they have no attributes.
    modules = [own for own in model.modules() if not isinstance(own, torch.jit.ScriptModule)]
    attributes = [(own, attributes_of(own), dict(own._buffers)) for own in modules]
    modes = [(own, own.training) for own in model.modules()]
    kept = [(own, _shared(own), own.grad) for own in held_tensors(model)]
    default = torch.get_default_dtype()
    wanted = getattr(torch, dtype)
    torch.set_default_dtype(wanted)
    try:
        for own, values, _ in kept:
            own.grad = None
            exact = exact_values(own) if dtype == "float64" else None
            _point(own, values.to(wanted, copy=True) if values.is_floating_point() else values.clone())
            if exact is not None:
                assign(own, exact)
        for own, before, _ in attributes:
            for name, value in before.items():
                if isinstance(value, torch.Tensor) and value.is_floating_point() and name not in own._parameters:
                    vars(own)[name] = value.detach().to(wanted, copy=True)
        with wide_casts(dtype), ExitStack() as stack:
            if dtype == "float64":
                rescale_directions(model)
                round_epsilons(model, stack)
            yield
    finally:
        torch.set_default_dtype(default)
        for own, before, buffers in attributes:
            _restore(vars(own), before)
            own._buffers.clear()
            own._buffers.update(buffers)
        for own, training in modes:
            own.training = training
        for own, values, gradient in kept:
            own.grad = None
            _point(own, values)
            own.grad = gradient


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run functions of `torch.compile` as they are written, so that calls inside are seen."""
    with torch.compiler.set_stance("force_eager") if hasattr(torch.compiler, "set_stance") else nullcontext():
        yield


def held_tensors(model: torch.nn.Module) -> list[Any]:
    """Return all parameters and buffers, each once."""
    found = {id(own): own for own in [*model.parameters(), *model.buffers()]}
    return list(found.values())


def kept_between_calls(module: torch.nn.Module, before: dict[str, Any]) -> list[str]:
    """Return the attributes of a module that a call has set to tensors, in which it keeps state."""
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, torch.Tensor) and (name not in before or before[name] is not value)
    ]


def attributes_of(module: torch.nn.Module) -> dict[str, Any]:
    """Return all attributes of a module that may hold tensors."""
    return dict(vars(module))


def _restore(now: dict[str, Any], before: dict[str, Any]) -> None:
    """Set attributes that hold tensors, or tuples of tensors, to what they were."""
    for name in [name for name, value in now.items() if _holds(value) and name not in before]:
        del now[name]
    for name, value in before.items():
        if _holds(value) or _holds(now.get(name)):
            now[name] = value


def _holds(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(isinstance(own, torch.Tensor) for own in value)
    return isinstance(value, torch.Tensor)


def _shared(tensor: Any) -> Any:
    """Return another tensor of the same memory, which remains when the first points elsewhere."""
    return tensor.data


def _point(tensor: Any, values: Any) -> None:
    """Have a tensor share the memory of another one, and its type."""
    tensor.data = values


@contextmanager
def wide_casts(dtype: str) -> Iterator[None]:
    """Have the user's casts to a narrower type, such as `mask.float()`, give float64 if that is the precision."""

    class Wide(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func in (torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16):
                func = torch.Tensor.double
            return func(*map(_widened, args), **{name: _widened(own) for name, own in (kwargs or {}).items()})

    with Wide() if dtype == "float64" else nullcontext():
        yield


def _widened(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value in NARROW else value


@contextmanager
def seeded(seed: int) -> Iterator[list[str]]:
    """Seed all random numbers, and restore their states; the list names those that were drawn."""
    states = (random.getstate(), np.random.get_state(), torch.get_rng_state())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    before = torch.get_rng_state()
    drawn: list[str] = []
    try:
        yield drawn
        if not torch.equal(before, torch.get_rng_state()):
            drawn.append("PyTorch")
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def round_epsilons(model: torch.nn.Module, stack: ExitStack) -> None:
    """Round epsilons and momenta of normalization to float32 until `stack` is closed, as Paddle does in float64.

    See docs/differences.md#float32_inside.
    """
    for module in model.modules():
        if kind_of(module)[0] not in NORMS:
            continue
        stack.callback(setattr, module, "eps", module.eps)
        module.eps = None if module.eps is None else float(np.float32(module.eps))
        if getattr(module, "momentum", None) is not None:
            stack.callback(setattr, module, "momentum", module.momentum)
            module.momentum = 1 - float(np.float32(1 - module.momentum))
