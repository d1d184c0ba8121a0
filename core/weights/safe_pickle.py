"""Safe reader of pickles with containers, numbers, text and NumPy arrays.

A pickle is a program that may call any function of any module, and `pickle.load` runs it. This reader maps the few
names that NumPy, OrderedDict and old byte strings need (`_CALLS`) to functions of this file, which check sizes and
number types. Every other object becomes a stand-in that does nothing (`core/weights/opaque.py`), and names of modules
that only an attack needs are refused, as is every opcode that is not listed. The interpreter is Python's pure-Python
`pickle._Unpickler` with an opcode table defined here. The common approach, `find_class` in a subclass of the C
`pickle.Unpickler`, does not suffice: its opcode table is fixed, and a few bytes make it allocate 64 GiB (`LONG_BINPUT`
of a large index), crash (a deeply nested tuple as a key) or set attributes on the result of `find_class`. Every opcode
is charged to a budget (`core/weights/budget.py`): few bytes can copy a long text many times.

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
from core.weights.budget import Budget
from core.weights.opaque import Opaque, stand_in
from core.weights.pickle_calls import CALLS, put
from core.weights.pickled_arrays import Damaged, NumberType, PickledArray, damaged, short

_LONGEST_INTEGER, _LONGEST_NAME = 1000, 1000
"""Most characters of an integer in decimals and of a name. Python prints no integer of more than 4,300 digits."""
_CALL = 2
"""Operations of a call, besides that of its opcode."""


def load(data: bytes, budget: Budget) -> object:
    """Decode a pickle of dicts, lists, sets (as lists), tuples, numbers, text, bytes and arrays.

    Arrays are returned as `PickledArray`, other objects as `Opaque`. Raises UserError naming the file of `budget`: for
    a name that is refused, a persistent id, a number type that is not plain, truncated or invalid data, and more memory
    or operations than the budget has.
    """
    try:
        with warnings.catch_warnings():
            # Python warns about invalid escapes in strings, which does not help the user of a damaged file.
            warnings.simplefilter("ignore", DeprecationWarning)
            return SafeUnpickler(io.BytesIO(data), budget).load()
    except UserError:
        raise
    except Exception as error:  # inconsistent opcodes can raise any exception
        raise damaged(budget.where, "a pickle", error, data) from None


class SafeUnpickler(pickle._Unpickler):
    """Python's unpickler, restricted to the names of `calls` and the opcodes of `dispatch`.

    Every other object is replaced by `core.weights.opaque.Opaque`, or refused. The functions of `calls` take the
    budget before the arguments of the pickle.
    """

    calls: ClassVar[dict[str, Callable]] = CALLS

    stack: list
    append: Callable[[object], None]
    pop_mark: Callable[[], list]
    read: Callable[[int], bytes]
    readline: Callable[[], bytes]
    memo: dict[int, object]

    def __init__(self, stream: io.BytesIO, budget: Budget) -> None:
        super().__init__(stream, encoding="latin-1")
        self.where, self.budget = budget.where, budget
        self.dispatch = _Charged(self.dispatch, budget)  # type: ignore[misc]

    def refuse(self, what: str) -> NoReturn:
        raise UserError(f"{self.where}: unsafe, it asks {what}: save a state dict, which holds arrays only")

    def find_class(self, module: str, name: str) -> Callable:
        if len(module) + len(name) > _LONGEST_NAME:
            raise Damaged(f"a name of {len(module) + len(name):,} characters")
        if f"{module}.{name}" in self.calls:
            return self.calls[f"{module}.{name}"]
        found = stand_in(module, name)
        if found is None:
            self.refuse(f"to run {short(f'{module}.{name}')}")
        return found

    def put_items(self, items: list) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            put(self.budget, self.stack[-1], key, value)

    def load_int(self) -> None:
        line = self.readline()[:-1]
        self.append(line == b"01" if line in (b"00", b"01") else _integer(line))

    def load_long(self) -> None:
        self.append(_integer(self.readline()[:-1].removesuffix(b"L")))

    def load_long4(self) -> None:
        raise Damaged(f"an integer of {int.from_bytes(self.read(4), 'little'):,} bytes, expected at most 255")

    def load_put(self) -> None:
        index = _integer(self.readline()[:-1])
        if not 0 <= index < 2**32:
            raise Damaged("an index of the memo outside 0 to 2**32")
        self.memo[index] = self.stack[-1]

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack[-1]
        if not isinstance(arguments, tuple) or not callable(function):
            raise Damaged("a call of something that is no function")
        self.budget.operate(_CALL)
        self.budget.create(8 * len(arguments))
        given = arguments if isinstance(function, Opaque) else (self.budget, *arguments)
        try:
            self.stack[-1] = function(*given)
        except TypeError:
            raise Damaged("a call with arguments of an unknown form") from None

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
            target.build(self.budget, state)
        elif isinstance(target, Opaque):
            target.state = state
        elif not isinstance(target, dict):  # attributes of an OrderedDict are not needed
            raise Damaged("a state for something that has none")

    def load_newobj(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        if not isinstance(kind, Opaque) or not isinstance(arguments, tuple):
            self.refuse("for NEWOBJ")
        self.budget.create(8 * len(arguments))
        self.append(kind(*arguments))

    def load_newobj_ex(self) -> None:
        self.stack.pop()  # keyword arguments
        self.load_newobj()


_BY_CODE = {ord(opcode.code): opcode for opcode in pickletools.opcodes}


def _integer(text: bytes) -> int:
    if len(text) > _LONGEST_INTEGER:
        raise Damaged(f"an integer of {len(text):,} characters, expected at most {_LONGEST_INTEGER:,}")
    return int(text, 0)


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
PROTO FRAME STOP MARK POP POP_MARK DUP BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL
NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING
UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8
EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT
"""
"""Opcodes handled as in Python: they move values on the stack or call `find_class` results."""
_CODES = {opcode.name: code for code, opcode in _BY_CODE.items()}
_INSTEAD = {"BYTEARRAY8": "BINBYTES8", "EMPTY_SET": "EMPTY_LIST", "FROZENSET": "LIST", "ADDITEMS": "APPENDS"}
"""Opcodes handled as another one, as Python allocates bytearrays unread and hashes sets."""
_OWN = {
    "INT": SafeUnpickler.load_int,
    "LONG": SafeUnpickler.load_long,
    "LONG4": SafeUnpickler.load_long4,
    "PUT": SafeUnpickler.load_put,
    "REDUCE": SafeUnpickler.load_reduce,
    "DICT": SafeUnpickler.load_dict,
    "SETITEM": SafeUnpickler.load_setitem,
    "SETITEMS": SafeUnpickler.load_setitems,
    "BUILD": SafeUnpickler.load_build,
    "NEWOBJ": SafeUnpickler.load_newobj,
    "NEWOBJ_EX": SafeUnpickler.load_newobj_ex,
}
_MEMORY = {
    **dict.fromkeys(("MARK", "GLOBAL", "STACK_GLOBAL", "EMPTY_DICT", "DICT"), 256),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), 144),
    **dict.fromkeys(("REDUCE", "NEWOBJ", "NEWOBJ_EX", "EMPTY_LIST", "EMPTY_SET", "LIST", "FROZENSET"), 128),
    **dict.fromkeys(("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"), 80),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"), 80),
    **dict.fromkeys(("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), 80),
    **dict.fromkeys(("INT", "BININT", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"), 40),
}
"""Created bytes by opcode, at most, without the text and numbers that the file itself contains; 8 for all others."""
_COSTS = [_MEMORY.get(_BY_CODE[code].name, 8) if code in _BY_CODE else 8 for code in range(256)]


class _Charged:
    """A table of opcodes that charges each one to the budget of the file before its handler is returned."""

    __slots__ = ("budget", "handlers")

    def __init__(self, handlers: dict, budget: Budget) -> None:
        self.handlers, self.budget = handlers, budget

    def __getitem__(self, code: int) -> Callable:
        budget = self.budget
        budget.operate()
        budget.create(_COSTS[code])
        return self.handlers[code]


SafeUnpickler.dispatch = _Opcodes(
    {_CODES[name]: pickle._Unpickler.dispatch[_CODES[name]] for name in _PLAIN.split()}
    | {_CODES[name]: pickle._Unpickler.dispatch[_CODES[other]] for name, other in _INSTEAD.items()}
    | {_CODES[name]: handler for name, handler in _OWN.items()}
)
