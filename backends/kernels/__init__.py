"""Our own recurrent layers for the CPU: the compiled library, and what both frameworks hand to it.

`pip install` compiles `recurrent.cpp` (`setup.py`); where it could not, `failure()` says why and nothing else here may
be called. The library knows no framework and no Python: it is given addresses of C-contiguous arrays on the CPU. It
gives up Python's lock while it computes, and notices Ctrl-C.
"""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

from core.engine.machine import usable_cores

LIBRARY = Path(__file__).with_name("recurrent.so")
NOTE = LIBRARY.with_suffix(".txt")  # where `setup.py` says why it made no library
CELLS = {"srn": 0, "gru": 1, "lstm": 2, "residual_srn": 3}
TARGETS = ("portable", "avx2", "avx512")
ADDRESS = ctypes.c_void_p


class Problem(ctypes.Structure):
    """`Problem` of `recurrent.h`, field by field, where shapes and meaning stand."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("cell", "float64", "directions", "threads")),
        *((name, ctypes.c_int64) for name in ("models", "batch", "width", "inputs", "hidden")),
        *((name, ADDRESS) for name in ("lengths", "x")),
        *((name, ADDRESS * 2) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")),
        *((name, ADDRESS) for name in ("h_0", "c_0", "output", "h_n", "c_n", "saved")),
        *((name, ADDRESS) for name in ("d_output", "d_h_n", "d_c_n", "d_x")),
        *((name, ADDRESS * 2) for name in ("d_weight_ih", "d_weight_hh", "d_bias_ih", "d_bias_hh")),
        *((name, ADDRESS) for name in ("d_h_0", "d_c_0")),
    ]


@functools.cache
def _load() -> ctypes.PyDLL | str:
    """The library, or why there is none."""
    if not LIBRARY.exists():
        needed = "a C++ compiler, g++ or clang++, must be there when seqtwin is installed"
        return f"it was not compiled ({NOTE.read_text(encoding='utf-8').strip() if NOTE.exists() else needed})"
    try:
        # PyDLL: Python looks for an exception when a call returns, which is how Ctrl-C comes out of one.
        library = ctypes.PyDLL(str(LIBRARY))
    except OSError as error:
        return f"{LIBRARY} does not load ({' '.join(str(error).split())})"
    library.seqtwin_python.argtypes = [ADDRESS] * 3
    library.seqtwin_target.restype = ctypes.c_char_p
    library.seqtwin_saved_bytes.argtypes = [ctypes.POINTER(Problem), ctypes.c_int64]
    library.seqtwin_saved_bytes.restype = ctypes.c_size_t
    library.seqtwin_take.argtypes = [ctypes.c_size_t]
    library.seqtwin_take.restype = ADDRESS
    library.seqtwin_give_back.argtypes = [ADDRESS]
    library.seqtwin_number_rows.argtypes = [ADDRESS, ctypes.c_int64, ADDRESS, ADDRESS, ADDRESS]
    library.seqtwin_number_rows.restype = ctypes.c_int64
    python = (ctypes.pythonapi.PyEval_SaveThread, ctypes.pythonapi.PyEval_RestoreThread)
    library.seqtwin_python(*(ctypes.cast(f, ADDRESS) for f in (*python, ctypes.pythonapi.PyErr_CheckSignals)))
    return library


def failure() -> str | None:
    """Why the library cannot be used; None if it can."""
    found = _load()
    return found if isinstance(found, str) else None


def target() -> str:
    """The build that runs on this machine: `avx512`, `avx2` or `portable`."""
    return _load().seqtwin_target().decode()


def choose(name: str | None) -> bool:
    """Run another build than the best, or (None) the best again; False if this machine has it not. For tests."""
    return bool(_load().seqtwin_choose(-1 if name is None else TARGETS.index(name)))


_threads: int | None = None


def set_threads(count: int | None) -> None:
    """Use at most so many threads from now on; None: as many as `OMP_NUM_THREADS` says, or cores may be used."""
    global _threads
    _threads = count


def threads() -> int:
    """At most so many threads are used. Results do not depend on it."""
    return _threads or _threads_by_default()


@functools.cache
def _threads_by_default() -> int:
    told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(told) if told.isdigit() and int(told) > 0 else usable_cores()


_interrupt: KeyboardInterrupt | None = None


def raise_interrupt(message: str) -> None:
    """Raise the Ctrl-C that ended a pass, if one did and it was not raised again since: a framework may have turned it
    into something else on its way. Where it came beside a pass, only the framework's `message` tells."""
    global _interrupt
    interrupt, _interrupt = _interrupt, None
    if interrupt is None and KeyboardInterrupt.__name__ in message:
        interrupt = KeyboardInterrupt()
    if interrupt is not None:
        raise interrupt from None


def compute(name: str, problem: ctypes.Structure) -> None:
    """Run a function of the library that Ctrl-C can interrupt. Raises MemoryError, KeyboardInterrupt."""
    global _interrupt
    try:
        code = getattr(_load(), name)(ctypes.byref(problem))
    except KeyboardInterrupt as error:
        _interrupt = error
        raise
    if code == 2:
        raise MemoryError("no memory for the work of a recurrent layer")


def call(name: str, *arguments: int) -> int:
    """Run a quick function of the library on integers and addresses."""
    return getattr(_load(), name)(*arguments)


class Pass:
    """One layer over one batch, or one of each of `models` models side by side: `forward`, and after it, if it was to
    be kept, `backward`, once.

    Arrays come as addresses under the names of `Problem`: a list where there is one per direction, None where there is
    none. The caller keeps them alive and checked: C-contiguous, of one dtype, on the CPU.
    """

    _saved: int | None = None

    def __init__(self, cell: str, float64: bool, directions: int, shape: list[int], hidden: int, models: int = 1):
        """`shape` of x: [B, L, I], B being the sequences of all models, one after another. Raises ValueError for an
        empty batch or width, and where the sequences cannot be shared out."""
        batch, width, inputs = shape
        if min(batch, width, inputs, hidden) < 1:
            raise ValueError(
                f"a recurrent layer needs at least one sequence, token and unit: x {list(shape)}, H {hidden}"
            )
        if batch % models:
            raise ValueError(f"{batch} sequences for {models} models: each needs as many")
        each = batch // models
        self.problem = Problem(CELLS[cell], float64, directions, threads(), models, each, width, inputs, hidden)

    def forward(self, tokens: int | None, **addresses: object) -> None:
        """Write `output`, and `h_n` and `c_n` where given. `tokens`: sum of the lengths, if `backward` is to come."""
        self._point(addresses)
        if tokens is not None:
            library = _load()
            self._saved = library.seqtwin_take(library.seqtwin_saved_bytes(self.problem, tokens))
            if not self._saved:
                raise MemoryError("no memory for what the backward pass of a recurrent layer needs")
            # Kept here: at the interpreter's exit this module's names may be gone before the last pass is.
            self._give_back = library.seqtwin_give_back
            self.problem.saved = self._saved
        compute("seqtwin_forward", self.problem)

    def backward(self, **addresses: object) -> None:
        """Write the gradients that are given. Raises RuntimeError at a second call: the first used up what was kept."""
        if self._saved is None:
            raise RuntimeError("this graph was run backwards before, and the fast layer keeps its gates only once")
        self._point(addresses)
        try:
            compute("seqtwin_backward", self.problem)
        finally:
            self.close()

    def close(self) -> None:
        """Give back what was kept for `backward`."""
        saved, self._saved = self._saved, None
        if saved is not None:
            self._give_back(saved)

    __del__ = close

    def _point(self, addresses: dict[str, object]) -> None:
        for name, address in addresses.items():
            if isinstance(address, list):
                address = (ADDRESS * 2)(*address)
            setattr(self.problem, name, address)
