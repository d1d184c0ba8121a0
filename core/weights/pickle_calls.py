"""Safe replacements of the functions that honest pickles of arrays call, and of entries of dicts."""

from __future__ import annotations

from collections.abc import Callable

from core.weights.budget import Budget
from core.weights.opaque import Opaque
from core.weights.pickled_arrays import Damaged, NumberType, PickledArray, ndarray, reconstruct

_KEYS = (str, int, float, bytes, type(None))
"""Allowed types of dict keys; hashing a deeply nested tuple would exhaust the stack."""
_LONGEST_KEY = 1000
"""Most characters of a key: longer keys are shortened, as every path to an entry below repeats them."""
_ENTRY = 100
"""Bytes of an entry of a dict."""


def put(budget: Budget, made: object, key: object, value: object) -> None:
    """Set an entry of a dict. A key that is an object, too long or too large becomes a short text. Raises Damaged."""
    if isinstance(made, Opaque):
        return
    if not isinstance(made, dict):
        raise Damaged("an entry for something that is not a dict")
    budget.create(_ENTRY)
    if isinstance(key, tuple | list | dict):
        raise Damaged(f"a {type(key).__name__} as a key")
    # All multiples of 2**61 - 1 have the same hash, so that a dict of them takes quadratic time.
    large = isinstance(key, int) and not -(2**60) < key < 2**60
    if not isinstance(key, _KEYS) or large or (isinstance(key, str | bytes) and len(key) > _LONGEST_KEY):
        budget.create(2 * _ENTRY)
        shown = key if isinstance(key, Opaque) else key[:40] if isinstance(key, str) else type(key).__name__
        key = f"{shown} ({len(made)})"
    made[key] = value


def items_of(budget: Budget, items: object = ()) -> tuple:
    """Return a copy of a list or tuple as a tuple. Raises Damaged for everything else."""
    if not isinstance(items, list | tuple):
        raise Damaged(f"a tuple of a {type(items).__name__}")
    budget.create(8 * len(items))
    return tuple(items)


def _pairs(budget: Budget, items: object = ()) -> dict:
    made: dict = {}
    for pair in items_of(budget, items):
        budget.operate()
        key, value = items_of(budget, pair)
        put(budget, made, key, value)
    return made


def _encode(budget: Budget, text: object, encoding: object) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise Damaged("a byte string of unknown encoding")
    budget.create(len(text))
    return text.encode("latin-1")


CALLS: dict[str, Callable] = {
    "collections.OrderedDict": _pairs,
    "collections.defaultdict": lambda *_: {},
    "_codecs.encode": _encode,
    "numpy.ndarray": ndarray,
    "numpy.dtype": lambda _, *arguments: NumberType(*arguments),
}
for _builtins in ("builtins", "__builtin__"):
    for _name in ("tuple", "set"):
        CALLS[f"{_builtins}.{_name}"] = items_of
    CALLS[f"{_builtins}.bytes"] = lambda _: b""
for _core in ("core", "_core"):  # NumPy 1 says core, NumPy 2 says _core
    CALLS[f"numpy.{_core}.multiarray._reconstruct"] = reconstruct
    CALLS[f"numpy.{_core}.multiarray.scalar"] = lambda budget, dtype, data: PickledArray().fill(
        budget, (), dtype, False, data
    )
    CALLS[f"numpy.{_core}.numeric._frombuffer"] = lambda budget, data, dtype, shape, order: PickledArray().fill(
        budget, shape, dtype, order == "F", data
    )
"""Names that a pickle may use, with their safe replacements, which take the budget as first argument."""
