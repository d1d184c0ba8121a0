"""Safe reader of pickles with containers, numbers, text and NumPy arrays.

A pickle is a program that may call any function of any module, and `pickle.load` runs it. This reader maps the few
names that NumPy, OrderedDict and old byte strings need (`_CALLS`) to functions of this file, which check sizes and
number types. It rejects every other name, and every opcode that is not listed. The interpreter is Python's pure-Python
`pickle._Unpickler` with an opcode table defined here. The common approach, `find_class` in a subclass of the C
`pickle.Unpickler`, does not suffice: its opcode table is fixed, and a few bytes make it allocate 64 GiB (`LONG_BINPUT`
of a large index), crash (a deeply nested tuple as a key) or set attributes on the result of `find_class`.

Sources: documentation of the opcodes in Python's `pickletools`; results of `numpy.ndarray.__reduce__` and
`__reduce_ex__`; files written by `paddle.save` of Paddle 2.6 and 3.3, protocols 2 to 4.
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
"""Allowed types of dict keys; hashing a deeply nested tuple would exhaust the stack."""


class Damaged(ValueError):
    """An inconsistent sequence of opcodes."""


def load(data: bytes, where: str) -> object:
    """Decode a pickle of dicts, lists, sets (as lists), tuples, numbers, text, bytes and arrays.

    Arrays are returned as `PickledArray`. Raises UserError naming `where`: for a name that is not listed, a persistent
    id, an instance of a class, a number type that is not plain, and truncated or invalid data.
    """
    try:
        with warnings.catch_warnings():
            # Python warns about invalid escapes in strings, which does not help the user of a damaged file.
            warnings.simplefilter("ignore", DeprecationWarning)
            return _Unpickler(data, where).load()
    except UserError:
        raise
    except Exception as error:  # inconsistent opcodes can raise any exception
        found = _short(str(error) or type(error).__name__)
        reason = f"damaged, or not a pickle ({found})" if data else "the file is empty"
        raise UserError(f"{where}: {reason}, expected a state dict: copy or save the file again") from None


class PickledArray:
    """A pickled array. `array()` returns a view of the file's memory in the stored number type."""

    __slots__ = ("data", "dtype", "fortran", "shape")

    def __init__(self) -> None:
        self.data = None

    def fill(self, shape: object, dtype: object, fortran: object, data: object) -> PickledArray:
        """Check sizes and type before storing the data. Raises Damaged."""
        if isinstance(data, str):
            data = data.encode("latin-1")  # a byte string of Python 2
        if self.data is not None or not isinstance(dtype, _NumberType) or not isinstance(data, bytes):
            raise Damaged("an array that is not made of plain numbers")
        # Checked before formatting an error: a few bytes can describe a tuple of 2**40 equal elements.
        if not isinstance(shape, tuple) or len(shape) > 32 or any(type(axis) is not int for axis in shape):
            raise Damaged("an array without a shape")
        if not all(0 <= axis <= _LONGEST_AXIS for axis in shape):
            raise Damaged(f"an array of shape {_short(str(shape))}")
        wanted = math.prod(shape) * dtype.numpy.itemsize
        if wanted != len(data):
            raise Damaged(f"an array of shape {list(shape)} needs {wanted} bytes but has {len(data)}")
        self.shape, self.dtype, self.fortran, self.data = shape, dtype.numpy, bool(fortran), data
        return self

    def build(self, state: object) -> None:
        """Load the state of a NumPy array: (version, shape, dtype, is_fortran, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise Damaged("an array state of unknown form")
        self.fill(*state[1:])

    def array(self) -> np.ndarray:
        if self.data is None:
            raise Damaged("an array without contents")
        return np.frombuffer(self.data, self.dtype).reshape(self.shape, order="F" if self.fortran else "C")


class _NumberType:
    """A replacement of `numpy.dtype(code, False, True)`, with the byte order of its state."""

    __slots__ = ("numpy",)

    def __init__(self, code: object, align: object = False, copy: object = True) -> None:
        if not isinstance(code, str):
            raise Damaged("an array type of unknown form")
        if code.lstrip("<>=|") not in _NUMBER_TYPES:
            raise Damaged(f"an array of the type {_short(repr(code))}, which is not a plain number")
        self.numpy = np.dtype(code)

    def build(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "=", "|"):
            raise Damaged("an array type of unknown form")
        self.numpy = self.numpy.newbyteorder(state[1])


def _ndarray(*_):
    raise Damaged("an array built in an unknown way")


def _reconstruct(kind, shape, code):
    if kind is not _ndarray:
        raise Damaged("an array of an unknown kind")
    return PickledArray()


def _encode(text, encoding):
    if not isinstance(text, str) or encoding != "latin1":
        raise Damaged("a byte string of unknown encoding")
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
"""Names that a pickle may use, with their safe replacements."""


class _Unpickler(pickle._Unpickler):
    """Python's unpickler, restricted to the names of `_CALLS` and the opcodes of `dispatch`."""

    stack: list
    append: Callable[[object], None]
    pop_mark: Callable[[], list]

    def __init__(self, data: bytes, where: str) -> None:
        super().__init__(io.BytesIO(data), encoding="latin-1")
        self.where = where

    def refuse(self, what: str) -> None:
        raise UserError(f"{self.where}: unsafe, it asks {what}: save a state dict, which holds arrays only")

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
        elif not isinstance(target, dict):  # attributes of an OrderedDict are not needed
            raise Damaged("a state for something that has none")


_BY_CODE = {ord(opcode.code): opcode for opcode in pickletools.opcodes}


class _Opcodes(dict):
    """Handlers by opcode; opcodes without an entry are rejected."""

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
"""Opcodes handled as in Python: they move values on the stack or call `find_class` results.

LONG4 is excluded, as its integers can be too long for Python to print.
"""
_CODES = {opcode.name: code for code, opcode in _BY_CODE.items()}
_INSTEAD = {"BYTEARRAY8": "BINBYTES8", "EMPTY_SET": "EMPTY_LIST", "FROZENSET": "LIST", "ADDITEMS": "APPENDS"}
"""Opcodes handled as another one, as Python allocates bytearrays unread and hashes sets."""
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
    """Return text from the file, made printable and truncated for an error message."""
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= 80 else text[:77] + "..."
