"""Messages about invalid specs, and the limit of their integers."""

from __future__ import annotations

import json

from pydantic import ValidationError

from core.models import encoders, heads
from core.spec.data import DATA_KINDS

LARGEST = 2**63
"""Largest integer in a spec; some fields have lower limits."""


KINDS = {
    "data": (*DATA_KINDS, "files", "split"),
    "texts": DATA_KINDS,
    "encoder": tuple(encoders.FAMILIES),
    "head": tuple(heads.FAMILIES),
    "optimizer": ("adam", "sgd"),
    "class_weights": ("balanced", "weights"),
    "text_column": ("str", "tuple[str, ...]"),
}
"""Kinds of the spec sections that have several."""


def describe(error: ValidationError) -> str:
    """Return the first problem of a validation error in one line: field, constraint, value."""
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"]]
    # pydantic includes the chosen kind of a section, which no spec path contains.
    named = [part for before, part in zip(["", *parts], parts, strict=False) if part not in KINDS.get(before, ())]
    field = ".".join(named)
    message = first["msg"].removeprefix("Value error, ")
    value = json.dumps(first["input"], default=str)
    shown = f" (got {value})" if len(value) <= 60 else ""
    return f"{field}: {message}{shown}" if field else f"{message}{shown}"
