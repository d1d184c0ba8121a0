"""Safe reader of pickles with containers, numbers, text and NumPy arrays.

A pickle is a program that may call any function of any module, and `pickle.load` runs it. This reader maps the few
names that NumPy, OrderedDict and old byte strings need (`_CALLS`) to functions of this file, which check sizes and
number types. Every other object becomes a stand-in that does nothing (`core/weights/opaque.py`), and names of modules
that only an attack needs are refused, as is every opcode that is not listed. The interpreter is Python's pure-Python
`pickle._Unpickler` with an opcode table defined here. The common approach, `find_class` in a subclass of the C
`pickle.Unpickler`, does not suffice: its opcode table is fixed, and a few bytes make it allocate 64 GiB (`LONG_BINPUT`
of a large index), crash (a deeply nested tuple as a key) or set attributes on the result of `find_class`.

Sources: documentation of the opcodes in Python's `pickletools`; results of `numpy.ndarray.__reduce__` and
`__reduce_ex__`; files written by `paddle.save` of Paddle 2.6 and 3.3, protocols 2 to 4.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import warnings
from collections.abc import Callable
from typing import ClassVar, NoReturn

from core.errors import UserError
from core.weights.opaque import Opaque, stand_in
from core.weights.pickled_arrays import Damaged, NumberType, PickledArray, ndarray, reconstruct, short

_KEYS = (str, int, float, bytes, type(None))
"""Allowed types of dict keys; hashing a deeply nested tuple would exhaust the stack."""


def load(data: bytes, where: str) -> object:
    """Decode a pickle of dicts, lists, sets (as lists), tuples, numbers, text, bytes and arrays.

    Arrays are returned as `PickledArray`, other objects as `Opaque`. Raises UserError naming `where`: for a name that
    is refused, a persistent id, a number type that is not plain, and truncated or invalid data.
    """
    try:
        with warnings.catch_warnings():
            # Python warns about invalid escapes in strings, which does not help the user of a damaged file.
            warnings.simplefilter("ignore", DeprecationWarning)
            return SafeUnpickler(io.BytesIO(data), where).load()
    except UserError:
        raise
    except Exception as error:  # inconsistent opcodes can raise any exception
        found = short(str(error) or type(error).__name__)
        reason = f"damaged, or not a pickle ({found})" if data else "the file is empty"
        raise UserError(f"{where}: {reason}, expected a state dict: copy or save the file again") from None


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
    if isinstance(made, Opaque):
        return
    if not isinstance(made, dict):
        raise Damaged("an entry for something that is not a dict")
    if not isinstance(key, (*_KEYS, tuple, list, dict)):  # a tensor or another object
        key = f"{key if isinstance(key, Opaque) else type(key).__name__} ({len(made)})"
    if not isinstance(key, _KEYS):
        raise Damaged(f"a {type(key).__name__} as a key")
    made[key] = value


_CALLS = {
    "collections.OrderedDict": _pairs,
    "collections.defaultdict": lambda *_: {},
    "_codecs.encode": _encode,
    "numpy.ndarray": ndarray,
    "numpy.dtype": lambda *arguments: NumberType(*arguments),  # noqa: PLW0108 (a pickle gets no class of ours)
}
for _builtins in ("builtins", "__builtin__"):
    for _name in ("tuple", "set"):
        _CALLS[f"{_builtins}.{_name}"] = lambda items=(): tuple(items)
    _CALLS[f"{_builtins}.bytes"] = lambda: b""
for _core in ("core", "_core"):  # NumPy 1 says core, NumPy 2 says _core
    _CALLS[f"numpy.{_core}.multiarray._reconstruct"] = reconstruct
    _CALLS[f"numpy.{_core}.multiarray.scalar"] = lambda dtype, data: PickledArray().fill((), dtype, False, data)
    _CALLS[f"numpy.{_core}.numeric._frombuffer"] = lambda data, dtype, shape, order: PickledArray().fill(
        shape, dtype, order == "F", data
    )
"""Names that a pickle may use, with their safe replacements."""


class SafeUnpickler(pickle._Unpickler):
    """Python's unpickler, restricted to the names of `calls` and the opcodes of `dispatch`.

    Every other object is replaced by `core.weights.opaque.Opaque`, or refused.
    """

    calls: ClassVar[dict[str, Callable]] = _CALLS

    stack: list
    append: Callable[[object], None]
    pop_mark: Callable[[], list]

    def __init__(self, stream: io.BytesIO, where: str) -> None:
        super().__init__(stream, encoding="latin-1")
        self.where = where

    def refuse(self, what: str) -> NoReturn:
        raise UserError(f"{self.where}: unsafe, it asks {what}: save a state dict, which holds arrays only")

    def find_class(self, module: str, name: str) -> Callable:
        if f"{module}.{name}" in self.calls:
            return self.calls[f"{module}.{name}"]
        found = stand_in(module, name)
        if found is None:
            self.refuse(f"to run {short(f'{module}.{name}')}")
        return found

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
        if isinstance(target, PickledArray | NumberType):
            target.build(state)
        elif isinstance(target, Opaque):
            target.state = state
        elif not isinstance(target, dict):  # attributes of an OrderedDict are not needed
            raise Damaged("a state for something that has none")

    def load_newobj(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        if not isinstance(kind, Opaque) or not isinstance(arguments, tuple):
            self.refuse("for NEWOBJ")
        self.append(kind(*arguments))

    def load_newobj_ex(self) -> None:
        self.stack.pop()  # keyword arguments
        self.load_newobj()


_BY_CODE = {ord(opcode.code): opcode for opcode in pickletools.opcodes}


class _Opcodes(dict):
    """Handlers by opcode; opcodes without an entry are rejected."""

    def __missing__(self, code: int) -> Callable:
        opcode = _BY_CODE[code]

        def refuse(machine) -> None:
            argument = opcode.arg.reader(machine) if opcode.arg else None
            name = opcode.name
            machine.refuse(f"to make an object ({name} {short(str(argument))})" if argument else f"for {name}")

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
    "DICT": SafeUnpickler.load_dict,
    "SETITEM": SafeUnpickler.load_setitem,
    "SETITEMS": SafeUnpickler.load_setitems,
    "BUILD": SafeUnpickler.load_build,
    "NEWOBJ": SafeUnpickler.load_newobj,
    "NEWOBJ_EX": SafeUnpickler.load_newobj_ex,
}
SafeUnpickler.dispatch = _Opcodes(
    {_CODES[name]: pickle._Unpickler.dispatch[_CODES[name]] for name in _PLAIN.split()}
    | {_CODES[name]: pickle._Unpickler.dispatch[_CODES[other]] for name, other in _INSTEAD.items()}
    | {_CODES[name]: handler for name, handler in _OWN.items()}
)
