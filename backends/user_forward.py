"""Calls of a user's own model, for any framework: arguments, result and errors of its forward."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from core.errors import UserError

OTHER_ARGUMENT = re.compile(r"label|target|hidden|state|mask|^y$|^h\d?$", re.IGNORECASE)
"""Names of a second parameter of a forward that is not the lengths."""
LISTED = 3
"""Maximum number of names in an error."""


def check_names(own: dict[str, bool], arrays: dict[str, np.ndarray], where: str) -> None:
    """Raise UserError for a name that is missing in `arrays`, or unexpected.

    `own` tells of each name of the model whether it is floating-point; counters and other integers are not loaded.
    """
    missing = [name for name, floating in own.items() if floating and name not in arrays]
    unexpected = [name for name in arrays if name not in own]
    if missing or unexpected:
        parts = [f"{_some(missing)} not in the file"] * bool(missing)
        parts += [f"{_some(unexpected)} not in the class"] * bool(unexpected)
        raise UserError(f"{where}: the class does not fit the file ({'; '.join(parts)}): give the class that wrote it")


def check_shapes(own: dict[str, tuple[int, ...]], arrays: dict[str, np.ndarray], where: str) -> None:
    """Raise UserError for an array of another shape than in the model."""
    for name, array in arrays.items():
        if own[name] != array.shape:
            raise UserError(
                f"{where}: {name} is {list(own[name])} in the class and {list(array.shape)} in the file: give the"
                f" class that wrote the file"
            )


def first_call(model: Callable, forward: Callable, tensors: tuple, where: str) -> tuple[object, str]:
    """Return the result of `forward(ids, lengths)`, or else of `forward(ids)`, and the call as text.

    Raises UserError if no call fits the signature of `forward`, or if the last one raises an exception.
    """
    calls = {f"forward({', '.join(('ids', 'lengths')[:count])})": tensors[:count] for count in (2, 1)}
    failure, parameters = "", list(inspect.signature(forward).parameters)
    if len(parameters) > 1 and OTHER_ARGUMENT.search(parameters[1]):
        del calls["forward(ids, lengths)"]
    for call, arguments in calls.items():
        try:
            inspect.signature(forward).bind(*arguments)
        except TypeError:
            continue
        try:
            return model(*arguments), call
        except Exception as error:  # the user's code can raise any exception
            reason = " ".join(str(error).split())[:160]
            failure = f"{where}: {call} raised {type(error).__name__}: {reason}"
    if failure:
        raise UserError(f"{failure}: correct it, or give `logits` FILE")
    raise UserError(
        f"{where}: got forward({', '.join(parameters)}), expected forward(ids) or forward(ids, lengths): add a subclass"
    )


def logits_of(output: Any, kind: type) -> Any:
    """Return the tensor of logits in an output: itself, `output.logits`, or the first of a tuple, list or dict."""
    if isinstance(output, dict):
        output = output.get("logits", next(iter(output.values()), None))
    elif hasattr(output, "logits"):
        output = output.logits
    elif isinstance(output, tuple | list) and output:
        output = output[0]
    return output if isinstance(output, kind) else None


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:LISTED])
    return f"{shown} and {len(names) - LISTED} more" if len(names) > LISTED else shown
