"""Base class and common number types of all spec sections, and look-up of spec fields."""

from __future__ import annotations

from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")


class Spec(BaseModel):
    """Base class of every spec section: immutable, rejects unknown fields, NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def of_kind(value: object, kind: type[T]) -> T:
    """Return `value`, a spec section of this kind. Raises TypeError otherwise."""
    if not isinstance(value, kind):
        raise TypeError(f"got a spec section {type(value).__name__}, expected {kind.__name__}")
    return value


Share = Annotated[float, Field(ge=0.0, le=1.0)]


DropoutRate = Annotated[float, Field(ge=0.0, lt=1.0)]


@dataclass(frozen=True)
class FieldType:
    """The type and the choices of a spec field, for parsing it from a command line."""

    type: type
    """bool, int, float, str or tuple; the class of a spec section."""
    choices: tuple[str, ...] = ()
    several: bool = False
    """True for a spec section with several kinds."""


def field_type(spec: type[Spec], path: str) -> FieldType:
    """Look up a dotted path in a spec class.

    For a section with several kinds, every kind that has the field is used. Raises KeyError for an unknown path.
    """
    kinds: list[object] = [spec]
    for name in path.split("."):
        owners = [
            kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Spec) and name in kind.model_fields
        ]
        if not owners:
            raise KeyError(path)
        kinds = [kind for owner in owners for kind in _alternatives(owner.model_fields[name].annotation)]
    literals = [value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)]
    named = [get_origin(kind) or kind for kind in kinds if get_origin(kind) is not Literal and kind is not type(None)]
    types = [kind for kind in named if isinstance(kind, type)]
    found = str if literals else types[0]
    return FieldType(
        found,
        tuple(dict.fromkeys(literals)),
        sum(issubclass(kind, Spec) for kind in types) > 1,
    )


def _alternatives(annotation: object) -> list[object]:
    """Return the members of unions, without pydantic's annotations."""
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [kind for member in get_args(annotation) for kind in _alternatives(member)]
    return [annotation]
