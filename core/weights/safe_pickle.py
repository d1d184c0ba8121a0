"""Read a pickle that holds containers, numbers, text and NumPy arrays, without running any code that it names.

A pickle is a program, and `pickle.load` runs it: whoever wrote the file may name any function of any module. Here the
few names that NumPy, OrderedDict and old byte strings need (`_CALLS`) lead to functions of this file, which check
sizes and number types; every other name, and every opcode that is not on a list, is refused. The interpreter is
Python's own in Python, `pickle._Unpickler`, with a table of opcodes from here. The usual form, a `find_class` on top
of the C `pickle.Unpickler`, is not enough: its table is fixed, and a few bytes make it allocate 64 GiB (`LONG_BINPUT`
of a large index), end the process (a deeply nested tuple as a key) or set attributes on what `find_class` returns.

Sources: the opcodes' documentation in Python's `pickletools`; what `numpy.ndarray.__reduce__` and `__reduce_ex__`
return; the files that `paddle.save` of Paddle 2.6 and 3.3 writes, protocols 2 to 4.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import warnings
from collections.abc import Callable

import numpy as np

from core.errors import UserError

_NUMBER_TYPES = frozenset(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"])
_LONGEST_AXIS = 2**31
_KEYS = (str, int, float, bytes, type(None))
"""What may be a key of a dict: hashing a deeply nested tuple would exhaust the interpreter's stack."""


class Damaged(ValueError):
    """The opcodes do not fit together."""


def load(data: bytes, where: str) -> object:
    """Return what the pickle describes: dicts, lists (sets too), tuples, numbers, text, bytes, and `PickledArray`.

    Raises UserError naming `where`: for a name that is not on the list, a persistent id, an instance of a class, a
    number type that is not plain, or data that are truncated or not a pickle.
    """
    try:
        with warnings.catch_warnings():
            # Of an odd escape in a string Python warns, which tells the user of a damaged file nothing.
            warnings.simplefilter("ignore", DeprecationWarning)
            return _Unpickler(data, where).load()
    except UserError:
        raise
    except Exception as error:  # whatever opcodes that do not fit together bring about
        found = _short(str(error) or type(error).__name__)
        reason = f"damaged, or not a pickle ({found})" if data else "the file is empty"
        raise UserError(f"{where}: {reason}: a state dict was expected") from None


class PickledArray:
    """An array as the pickle tells it. `array()` gives it in the stored number type, on the file's own memory."""

    __slots__ = ("data", "dtype", "fortran", "shape")

    def __init__(self) -> None:
        self.data = None

    def fill(self, shape: object, dtype: object, fortran: object, data: object) -> PickledArray:
        """Check sizes and type before anything is built. Raises Damaged."""
        if isinstance(data, str):
            data = data.encode("latin-1")  # Python 2 had no bytes
        if self.data is not None or not isinstance(dtype, _NumberType) or not isinstance(data, bytes):
            raise Damaged("an array that is not made of plain numbers")
        # What is shown of a file is small: a few bytes can describe a tuple of 2**40 elements, all of them the same.
        if not isinstance(shape, tuple) or len(shape) > 32 or any(type(axis) is not int for axis in shape):
            raise Damaged("an array without a shape")
        if not all(0 <= axis <= _LONGEST_AXIS for axis in shape):
            raise Damaged(f"an array of shape {_short(str(shape))}")
        wanted = math.prod(shape) * dtype.numpy.itemsize
        if wanted != len(data):
            raise Damaged(f"an array of shape {list(shape)} needs {wanted} bytes and has {len(data)}")
        self.shape, self.dtype, self.fortran, self.data = shape, dtype.numpy, bool(fortran), data
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

    def __init__(self, code: object, align: object = False, copy: object = True) -> None:
        if not isinstance(code, str):
            raise Damaged("an array's type in an unknown form")
        if code.lstrip("<>=|") not in _NUMBER_TYPES:
            raise Damaged(f"an array of the type {_short(repr(code))}, which is not a plain number")
        self.numpy = np.dtype(code)

    def build(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "=", "|"):
            raise Damaged("an array's type in an unknown form")
        self.numpy = self.numpy.newbyteorder(state[1])


def _ndarray(*_):
    raise Damaged("an array made in an unknown way")


def _reconstruct(kind, shape, code):
    if kind is not _ndarray:
        raise Damaged("an array of an unknown kind")
    return PickledArray()


def _encode(text, encoding):
    if not isinstance(text, str) or encoding != "latin1":
        raise Damaged("a byte string in an unknown encoding")
    return text.encode("latin-1")


def _pairs(items=()):
    made = {}
    for key, value in items:
        _put(made, key, value)
    return made


def _put(made: object, key: object, value: object) -> None:
    if not isinstance(made, dict):
        raise Damaged("an entry for something that is not a dict")
    if not isinstance(key, _KEYS):
        raise Damaged(f"a {type(key).__name__} as a key")
    made[key] = value


_CALLS = {
    "collections.OrderedDict": _pairs,
    "_codecs.encode": _encode,
    "numpy.ndarray": _ndarray,
    "numpy.dtype": lambda *arguments: _NumberType(*arguments),  # noqa: PLW0108 (a pickle gets no class of ours)
}
for _builtins in ("builtins", "__builtin__"):
    for _name in ("tuple", "set"):
        _CALLS[f"{_builtins}.{_name}"] = lambda items=(): tuple(items)
    _CALLS[f"{_builtins}.bytes"] = lambda: b""
for _core in ("core", "_core"):  # NumPy 1 says core, NumPy 2 says _core
    _CALLS[f"numpy.{_core}.multiarray._reconstruct"] = _reconstruct
    _CALLS[f"numpy.{_core}.multiarray.scalar"] = lambda dtype, data: PickledArray().fill((), dtype, False, data)
    _CALLS[f"numpy.{_core}.numeric._frombuffer"] = lambda data, dtype, shape, order: PickledArray().fill(
        shape, dtype, order == "F", data
    )
"""Every name that a pickle may use, and what we make in its place."""


class _Unpickler(pickle._Unpickler):
    """Python's unpickler, with the names of `_CALLS` and the opcodes of `_Unpickler.dispatch` alone."""

    stack: list
    append: Callable[[object], None]
    pop_mark: Callable[[], list]

    def __init__(self, data: bytes, where: str) -> None:
        super().__init__(io.BytesIO(data), encoding="latin-1")
        self.where = where

    def refuse(self, what: str) -> None:
        raise UserError(f"{self.where}: refuses to load: it asks {what}; a state dict holds arrays only")

    def find_class(self, module: str, name: str) -> Callable:
        if f"{module}.{name}" not in _CALLS:
            self.refuse(f"to run {_short(f'{module}.{name}')}")
        return _CALLS[f"{module}.{name}"]

    def put_items(self, items: list) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            _put(self.stack[-1], key, value)

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self.put_items(items)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.put_items([key, value])

    def load_setitems(self) -> None:
        self.put_items(self.pop_mark())

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, PickledArray | _NumberType):
            target.build(state)
        elif not isinstance(target, dict):  # attributes of an OrderedDict: nothing that we need
            raise Damaged("a state for something that has none")


_BY_CODE = {ord(opcode.code): opcode for opcode in pickletools.opcodes}


class _Opcodes(dict):
    """What is done for each opcode; a refusal for those without an entry."""

    def __missing__(self, code: int) -> Callable:
        opcode = _BY_CODE[code]

        def refuse(machine) -> None:
            argument = opcode.arg.reader(machine) if opcode.arg else None
            name = opcode.name
            machine.refuse(f"to make an object ({name} {_short(str(argument))})" if argument else f"for {name}")

        return refuse


_PLAIN = """
PROTO FRAME STOP MARK POP POP_MARK DUP PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE
NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING
UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8
EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT
"""
"""Opcodes that move values on the stack, or call what `find_class` has found: as Python does them. Without LONG4, whose
integers are too long for Python to show."""
_CODES = {opcode.name: code for code, opcode in _BY_CODE.items()}
_INSTEAD = {"BYTEARRAY8": "BINBYTES8", "EMPTY_SET": "EMPTY_LIST", "FROZENSET": "LIST", "ADDITEMS": "APPENDS"}
"""Python would reserve a bytearray's size before it is read, and hash what a set holds."""
_OWN = {
    "DICT": _Unpickler.load_dict,
    "SETITEM": _Unpickler.load_setitem,
    "SETITEMS": _Unpickler.load_setitems,
    "BUILD": _Unpickler.load_build,
}
_Unpickler.dispatch = _Opcodes(
    {_CODES[name]: pickle._Unpickler.dispatch[_CODES[name]] for name in _PLAIN.split()}
    | {_CODES[name]: pickle._Unpickler.dispatch[_CODES[other]] for name, other in _INSTEAD.items()}
    | {_CODES[name]: handler for name, handler in _OWN.items()}
)


def _short(text: str) -> str:
    """Text from the file, fit for one line of an error."""
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= 80 else text[:77] + "..."
