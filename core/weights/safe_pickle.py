"""Reading a pickle that holds containers, numbers, text and NumPy arrays, without ever running what it says.

A pickle is a program, and `pickle.load` runs it: whoever wrote the file may name any function of any module. Here the
opcodes are walked by a small machine of our own, on top of `pickletools.genops`, which only decodes them. Nothing is
imported and nothing in the file is called: the few names that NumPy, OrderedDict and old byte strings need
(`_CALLS`) are recognised, and what they would have made is built from checked sizes and number types. Every other name
is refused, and the error says it. (Python's own `Unpickler` with a `find_class` of ours would be shorter, but lets a
file set attributes on whatever `find_class` returns, and calls NumPy's constructors with arguments from the file.)

Sources: the opcodes' documentation in Python's `pickletools`; what `numpy.ndarray.__reduce__` and `__reduce_ex__`
return; the files that `paddle.save` of Paddle 2.6 and 3.3 writes, protocols 2 to 4.
"""

from __future__ import annotations

import math
import pickletools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from core.errors import UserError

_NUMBER_TYPES = frozenset("f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1".split())
_LONGEST_AXIS = 2**31
_LITERALS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE"
    " SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": list}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
_KEYS = (str, int, float, bytes, type(None))
"""What may be a key of a dict: hashing a deeply nested tuple would exhaust the interpreter's stack."""


class Damaged(ValueError):
    """The opcodes do not fit together."""


def load(data: bytes, where: str) -> object:
    """What the pickle describes: dicts, lists (sets too), tuples, numbers, text, bytes, and `PickledArray` for arrays.

    Raises UserError naming `where`: for a name that is not on the list, a persistent id, an instance of a class, a
    number type that is not plain, or data that are cut off or not a pickle.
    """
    try:
        return _Machine(where).run(data)
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        reason = "the file is empty" if not data else f"damaged, or not a pickle ({_short(str(error))})"
        raise UserError(f"{where}: {reason}: a state dict was expected") from None


class PickledArray:
    """An array as the pickle tells it. `array()` gives it in the stored number type, on the file's own memory."""

    __slots__ = ("shape", "dtype", "fortran", "data")

    def __init__(self) -> None:
        self.data = None

    def fill(self, shape: object, dtype: object, fortran: object, data: object) -> PickledArray:
        """Check sizes and type before anything is built. Raises Damaged."""
        if isinstance(data, str):
            data = data.encode("latin-1")  # Python 2 had no bytes
        if self.data is not None or not isinstance(dtype, _NumberType) or not isinstance(data, bytes | bytearray):
            raise Damaged("an array that is not made of plain numbers")
        if not isinstance(shape, tuple) or len(shape) > 32:
            raise Damaged("an array without a shape")
        if not all(type(axis) is int and 0 <= axis <= _LONGEST_AXIS for axis in shape):
            raise Damaged(f"an array of shape {_short(str(shape))}")
        wanted = math.prod(shape) * dtype.numpy.itemsize
        if wanted != len(data):
            raise Damaged(f"an array of shape {list(shape)} needs {wanted} bytes and has {len(data)}")
        self.shape, self.dtype, self.fortran, self.data = shape, dtype.numpy, bool(fortran), bytes(data)
        return self

    def build(self, state: object) -> None:
        """The state that NumPy gives its arrays: (version, shape, dtype, is_fortran, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise Damaged("an array's state in an unknown form")
        self.fill(*state[1:])

    def array(self) -> np.ndarray:
        if self.data is None:
            raise Damaged("an array without contents")
        return np.frombuffer(self.data, self.dtype).reshape(self.shape, order="F" if self.fortran else "C")


class _NumberType:
    """`numpy.dtype(code, False, True)`, and the byte order that its state brings."""

    __slots__ = ("numpy",)

    def __init__(self, code: object) -> None:
        if not isinstance(code, str) or code.lstrip("<>=|") not in _NUMBER_TYPES:
            raise Damaged(f"an array of the type {_short(repr(code))}, which is not a plain number")
        self.numpy = np.dtype(code)

    def build(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "=", "|"):
            raise Damaged("an array's type in an unknown form")
        self.numpy = self.numpy.newbyteorder(state[1])


@dataclass(frozen=True)
class _Name:
    """A name of `_CALLS`: never the function itself."""

    module: str
    name: str


def _reconstruct(kind, shape, code):
    if kind != _Name("numpy", "ndarray"):
        raise Damaged("an array of an unknown kind")
    return PickledArray()


def _encode(text, encoding):
    if not isinstance(text, str) or encoding != "latin1":
        raise Damaged("a byte string in an unknown encoding")
    return text.encode("latin-1")


def _dtype(code, align=False, copy=True):
    return _NumberType(code)


def _scalar(dtype, data):
    return PickledArray().fill((), dtype, False, data)


def _frombuffer(data, dtype, shape, order):
    return PickledArray().fill(shape, dtype, order == "F", data)


def _pairs(items=()):
    made = {}
    for pair in items:
        key, value = pair
        _put(made, key, value)
    return made


def _plain(items=()):
    return tuple(items)


def _nothing():
    return b""


def _ndarray(*_):
    raise Damaged("an array made in an unknown way")


_CALLS = {
    _Name("collections", "OrderedDict"): _pairs,
    _Name("_codecs", "encode"): _encode,
    _Name("numpy", "ndarray"): _ndarray,
    _Name("numpy", "dtype"): _dtype,
    **{_Name(module, "tuple"): _plain for module in ("builtins", "__builtin__")},
    **{_Name(module, "set"): _plain for module in ("builtins", "__builtin__")},
    **{_Name(module, "bytes"): _nothing for module in ("builtins", "__builtin__")},
    # NumPy 1 says core, NumPy 2 says _core.
    **{_Name(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{_Name(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{_Name(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}
"""Every name that a pickle may use, and what we make in its place."""


def _opcodes(data: bytes) -> Iterator[tuple]:
    with warnings.catch_warnings():
        # Of an odd escape in a string Python warns, which tells the user of a damaged file nothing.
        warnings.simplefilter("ignore", DeprecationWarning)
        yield from pickletools.genops(data)


class _Machine:
    """The pickle machine: a stack, the marks in it, and a memo."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.stack: list = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def run(self, data: bytes) -> object:
        for opcode, argument, _ in _opcodes(data):
            name = opcode.name
            if name == "STOP":
                return self.stack.pop()
            if name in _LITERALS:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _EMPTY:
                self.stack.append(_EMPTY[name]())
            elif name in _TUPLES:
                self.stack.append(tuple(self._take(_TUPLES[name])))
            elif name in _PUTS:
                self.memo[argument] = self.stack[-1]
            elif name in _GETS:
                self.stack.append(self.memo[argument])
            elif name in _STEPS:
                _STEPS[name](self)
            elif name == "GLOBAL":
                self._push_name(*argument.split(" ", 1))
            elif name not in ("PROTO", "FRAME"):
                self._refuse(f"to make an object ({name} {_short(str(argument))})" if argument else f"for {name}")
        raise Damaged("no end")

    def _refuse(self, what: str) -> None:
        raise UserError(f"{self.where}: refuses to load: it asks {what}; a state dict holds arrays only")

    def _take(self, count: int) -> list:
        if len(self.stack) < count:
            raise Damaged("the stack is empty")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _take_marked(self) -> list:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _push_name(self, module: object, name: object) -> None:
        found = _Name(str(module), str(name))
        if found not in _CALLS:
            self._refuse(f"to run {_short(f'{module}.{name}')}")
        self.stack.append(found)

    def _mark(self) -> None:
        self.marks.append(len(self.stack))

    def _memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _duplicate(self) -> None:
        self.stack.append(self.stack[-1])

    def _stack_name(self) -> None:
        self._push_name(*self._take(2))

    def _marked_tuple(self) -> None:
        self.stack.append(tuple(self._take_marked()))

    def _marked_list(self) -> None:
        self.stack.append(self._take_marked())

    def _marked_dict(self) -> None:
        items = self._take_marked()
        self.stack.append(_pairs(zip(items[::2], items[1::2], strict=True)))

    def _append(self) -> None:
        self._extend(self._take(1))

    def _appends(self) -> None:
        self._extend(self._take_marked())

    def _extend(self, items: list) -> None:
        if not isinstance(self.stack[-1], list):
            raise Damaged("an item for something that is not a list")
        self.stack[-1].extend(items)

    def _set_item(self) -> None:
        self._set(self._take(2))

    def _set_items(self) -> None:
        self._set(self._take_marked())

    def _set(self, items: list) -> None:
        if not isinstance(self.stack[-1], dict):
            raise Damaged("an entry for something that is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            _put(self.stack[-1], key, value)

    def _reduce(self) -> None:
        name, arguments = self._take(2)
        if not isinstance(name, _Name) or not isinstance(arguments, tuple):
            raise Damaged("a call of something that is not a function")
        try:
            self.stack.append(_CALLS[name](*arguments))
        except TypeError:
            raise Damaged(f"unknown arguments of {name.module}.{name.name}") from None

    def _build(self) -> None:
        (state,) = self._take(1)
        target = self.stack[-1]
        if isinstance(target, PickledArray | _NumberType):
            target.build(state)
        elif not isinstance(target, dict):  # attributes of an OrderedDict: nothing that we need
            raise Damaged("a state for something that has none")


def _put(made: dict, key: object, value: object) -> None:
    if not isinstance(key, _KEYS):
        raise Damaged(f"a {type(key).__name__} as a key")
    made[key] = value


def _short(text: str) -> str:
    """Text from the file, fit for one line of an error."""
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= 80 else text[:77] + "..."


_STEPS = {
    "MARK": _Machine._mark,
    "POP": lambda machine: machine._take(1),
    "POP_MARK": _Machine._take_marked,
    "DUP": _Machine._duplicate,
    "MEMOIZE": _Machine._memoize,
    "STACK_GLOBAL": _Machine._stack_name,
    "TUPLE": _Machine._marked_tuple,
    "LIST": _Machine._marked_list,
    "FROZENSET": _Machine._marked_list,
    "DICT": _Machine._marked_dict,
    "APPEND": _Machine._append,
    "APPENDS": _Machine._appends,
    "ADDITEMS": _Machine._appends,
    "SETITEM": _Machine._set_item,
    "SETITEMS": _Machine._set_items,
    "REDUCE": _Machine._reduce,
    "BUILD": _Machine._build,
}
"""Opcodes that only move things about on the stack, or build what `_CALLS` allows."""
