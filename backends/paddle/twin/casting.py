"""A Paddle model in another precision for a while, with everything restored afterwards."""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from backends.paddle.framework import paddle
from backends.paddle.twin.parameters import assign, exact_values, rescale_directions

NARROW = ("float32", "float16", "bfloat16", "uint16")
CASTING = (
    *("cast", "to_tensor", "zeros", "ones", "full", "zeros_like", "ones_like", "full_like", "empty", "eye", "arange"),
    *("linspace", "rand", "randn", "uniform", "normal"),
)
"""Functions of the framework with an argument that names a type."""
RANDOM = [(paddle, name) for name in ("rand", "randn", "uniform", "normal", "randint", "bernoulli", "multinomial")]
RANDOM += [(paddle, "randperm"), (paddle, "standard_normal"), (paddle.nn.functional, "rrelu")]
RANDOM += [(paddle.nn.functional, "gumbel_softmax")]
"""Functions that draw random numbers."""
METHODS = ("astype", "cast", "to")
FOLDER = str(Path(paddle.__file__).parent)


@contextmanager
def casted(model: paddle.nn.Layer, dtype: str) -> Iterator[None]:
    """Cast a model's floating-point arrays to `dtype`; restore arrays, gradients, modes and attributes afterwards.

    In float64, written values are the exact ones, directions of weight normalization have the size of the weight (on
    which training depends), and epsilons are rounded as in Paddle.
    """
    modules = model.sublayers(include_self=True)
    attributes = [(own, attributes_of(own), own.training) for own in modules]
    kept = [(own, _shared(own), own.grad) for own in held_tensors(model)]
    default = paddle.get_default_dtype()
    paddle.set_default_dtype(dtype)
    try:
        # `Layer.to` raises for recurrent layers: docs/differences.md#recurrent_to
        for own, _, _ in kept:
            if own.is_floating_point():
                exact = exact_values(own) if dtype == "float64" else None
                own.clear_gradient(False)
                _point(own, own.detach().astype(dtype) if own.dtype != getattr(paddle, dtype) else own.detach().clone())
                if exact is not None:
                    assign(own, exact)
        with wide_casts(dtype), ExitStack() as stack:
            if dtype == "float64":
                rescale_directions(model)
                round_epsilons(model, stack)
            yield
    finally:
        paddle.set_default_dtype(default)
        for own, before, training in attributes:
            _restore(own._buffers, before)
            own.training = training
        for own, values, gradient in kept:
            own.clear_gradient(False)
            _point(own, values)
            if gradient is not None:
                own.grad = gradient


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run functions of `paddle.jit.to_static` as they are written, so that calls inside are seen."""
    translator = paddle.jit.dy2static.program_translator.ProgramTranslator.get_instance()
    before = translator.enable_to_static
    paddle.jit.enable_to_static(False)
    try:
        yield
    finally:
        paddle.jit.enable_to_static(before)


def held_tensors(model: paddle.nn.Layer) -> list[Any]:
    """Return all parameters and buffers, each once."""
    found = {id(own): own for own in [*model.parameters(), *model.buffers()]}
    return [own for own in found.values() if own is not None and own._is_initialized()]


def kept_between_calls(module: paddle.nn.Layer, before: dict[str, Any]) -> list[str]:
    """Return the attributes of a module that a call has set to tensors, in which it keeps state."""
    now = attributes_of(module)
    return [name for name, value in now.items() if name not in before or before[name] is not value]


def attributes_of(module: paddle.nn.Layer) -> dict[str, Any]:
    """Return all attributes of a module that may hold tensors: Paddle keeps them among its buffers."""
    return dict(module._buffers)


def _restore(now: dict[str, Any], before: dict[str, Any]) -> None:
    """Set attributes that hold tensors to what they were."""
    for name in [name for name, value in now.items() if _holds(value) and name not in before]:
        del now[name]
    now.update(before)


def _holds(value: Any) -> bool:
    return isinstance(value, paddle.Tensor)


def _shared(tensor: Any) -> Any:
    """Return another tensor of the same memory, which remains when the first points elsewhere."""
    own = paddle.empty([1], dtype=tensor.dtype)
    _point(own, tensor)
    return own


def _point(tensor: Any, values: Any) -> None:
    """Have a tensor share the memory of another one, and its type."""
    tensor.get_tensor()._share_data_with(values.get_tensor())


@contextmanager
def wide_casts(dtype: str) -> Iterator[None]:
    """Have the user's casts to a narrower type, `mask.astype("float32")`, give float64 if that is the precision."""
    places = [(paddle, name) for name in CASTING] + [(paddle.Tensor, name) for name in METHODS]
    changed = [(place, name, getattr(place, name)) for place, name in places if hasattr(place, name)]
    if dtype != "float64":
        changed = []

    def wide(function: Any) -> Any:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            # The framework's own code keeps its types.
            if sys._getframe(1).f_code.co_filename.startswith(FOLDER):
                return function(*args, **kwargs)
            return function(*map(_widened, args), **{name: _widened(own) for name, own in kwargs.items()})

        return call

    try:
        for place, name, function in changed:
            setattr(place, name, wide(function))
        yield
    finally:
        for place, name, function in changed:
            setattr(place, name, function)


def _widened(value: Any) -> Any:
    if isinstance(value, (str, type(paddle.float32))) and str(value).rpartition(".")[2] in NARROW:
        return "float64"
    return "float64" if value is np.float32 or value is np.float16 else value


@contextmanager
def seeded(seed: int) -> Iterator[list[str]]:
    """Seed all random numbers, and restore their states; the list names those that were drawn."""
    states = (random.getstate(), np.random.get_state(), paddle.get_rng_state())
    random.seed(seed)
    np.random.seed(seed)
    paddle.seed(seed)
    drawn: list[str] = []

    def noted(name: str, function: Any) -> Any:
        # The state of the generator tells nothing: layers without random numbers move it too.
        def call(*args: Any, **kwargs: Any) -> Any:
            drawn.append(name)
            return function(*args, **kwargs)

        return call

    changed = [(place, name, getattr(place, name)) for place, name in RANDOM if hasattr(place, name)]
    try:
        for place, name, function in changed:
            setattr(place, name, noted(name, function))
        yield drawn
    finally:
        for place, name, function in changed:
            setattr(place, name, function)
        random.setstate(states[0])
        np.random.set_state(states[1])
        paddle.set_rng_state(states[2])


def round_epsilons(model: paddle.nn.Layer, stack: ExitStack) -> None:
    """Round epsilons and momenta of normalization to float32 until `stack` is closed: Paddle's own layers do."""
