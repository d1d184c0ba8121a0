"""Compiled recurrent kernels for the CPU, with a ctypes interface shared by both backends.

`pip install` compiles the library (`setup.py`). If that failed, `failure()` returns the reason and no other function
may be called. The library depends on no framework and not on Python: it receives addresses of C-contiguous arrays on
the CPU, which `arguments` checks. It releases the GIL while it computes, and handles Ctrl-C.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from pathlib import Path

from core.engine.machine import usable_cores

LIBRARY = Path(__file__).with_name("recurrent.so")
NOTE = LIBRARY.with_suffix(".txt")  # reason of `setup.py` for a missing library
CELLS = {"srn": 0, "gru": 1, "lstm": 2, "residual_srn": 3}
TARGETS = ("portable", "avx2", "avx512")
ADDRESS = ctypes.c_void_p


class Problem(ctypes.Structure):
    """Mirror of `Problem` in `recurrent.h`, which documents shapes and meanings."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("cell", "float64", "directions", "threads")),
        *((name, ctypes.c_int64) for name in ("models", "batch", "width", "inputs", "hidden")),
        *((name, ADDRESS) for name in ("lengths", "x")),
        *((name, ADDRESS * 2) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")),
        *((name, ADDRESS) for name in ("h_0", "c_0", "output", "h_n", "c_n", "saved")),
        *((name, ADDRESS) for name in ("d_output", "d_h_n", "d_c_n", "d_x")),
        *((name, ADDRESS * 2) for name in ("d_weight_ih", "d_weight_hh", "d_bias_ih", "d_bias_hh")),
        *((name, ADDRESS) for name in ("d_h_0", "d_c_0")),
        *((name, ADDRESS) for name in ("packed", "ids", "table", "sums", "known")),
    ]


PROBLEM_BYTES = ctypes.sizeof(Problem)


@functools.cache
def _load() -> ctypes.PyDLL | str:
    """Load the library; return it, or the reason why it is not available."""
    if not LIBRARY.exists():
        needed = "installing seqtwin needs a C++ compiler, g++ or clang++"
        return f"it was not compiled ({NOTE.read_text(encoding='utf-8').strip() if NOTE.exists() else needed})"
    try:
        # With PyDLL, Python checks for an exception when a call returns, so that Ctrl-C is raised.
        library = ctypes.PyDLL(str(LIBRARY))
    except OSError as error:
        return f"{LIBRARY} cannot be loaded ({' '.join(str(error).split())})"
    library.seqtwin_python.argtypes = [ADDRESS] * 3
    library.seqtwin_target.restype = ctypes.c_char_p
    library.seqtwin_start_layers.argtypes = [ADDRESS, ctypes.c_int64, ctypes.c_int64]
    library.seqtwin_backward_layers.argtypes = [ADDRESS, ctypes.c_int64]
    library.seqtwin_forward.argtypes = [ADDRESS]
    library.seqtwin_columns.argtypes = [ctypes.POINTER(Problem)]
    library.seqtwin_columns.restype = ctypes.c_int64
    library.seqtwin_packed_bytes.argtypes = [ctypes.POINTER(Problem)]
    library.seqtwin_packed_bytes.restype = ctypes.c_size_t
    library.seqtwin_convolution_bytes.argtypes = [ADDRESS]
    library.seqtwin_convolution_bytes.restype = ctypes.c_size_t
    library.seqtwin_take.argtypes = [ctypes.c_size_t]
    library.seqtwin_take.restype = ADDRESS
    library.seqtwin_give_back.argtypes = [ADDRESS]
    library.seqtwin_task_times.argtypes = [ADDRESS, ctypes.c_int64]
    library.seqtwin_number_rows.argtypes = [ADDRESS, ctypes.c_int64, ADDRESS, ADDRESS, ADDRESS]
    library.seqtwin_number_rows.restype = ctypes.c_int64
    python = (ctypes.pythonapi.PyEval_SaveThread, ctypes.pythonapi.PyEval_RestoreThread)
    library.seqtwin_python(*(ctypes.cast(f, ADDRESS) for f in (*python, ctypes.pythonapi.PyErr_CheckSignals)))
    return library


def failure() -> str | None:
    """Return why the library cannot be used; None if it can."""
    found = _load()
    return found if isinstance(found, str) else None


def target() -> str:
    """Return the build that runs on this machine: `avx512`, `avx2` or `portable`."""
    return _load().seqtwin_target().decode()


def choose(name: str | None) -> bool:
    """Select a build, None for the best one; return False if this machine lacks it. For tests."""
    return bool(_load().seqtwin_choose(-1 if name is None else TARGETS.index(name)))


_threads: int | None = None


def set_threads(count: int | None) -> None:
    """Set the maximum number of threads; None: `OMP_NUM_THREADS`, or the number of usable cores."""
    global _threads
    if count is not None and count < 1:
        raise ValueError(f"count: got {count}, expected at least 1")
    _threads = count


def threads() -> int:
    """Return the maximum number of threads. Results do not depend on it."""
    return _threads or _threads_by_default()


@functools.cache
def _threads_by_default() -> int:
    setting = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(setting) if setting.isdigit() and int(setting) > 0 else usable_cores()


_interrupt: KeyboardInterrupt | None = None


def raise_interrupt(message: str) -> None:
    """Raise the KeyboardInterrupt of a pass that a framework replaced by another exception.

    For an interrupt outside of a pass, only the framework's error `message` names it.
    """
    global _interrupt
    interrupt, _interrupt = _interrupt, None
    if interrupt is None and KeyboardInterrupt.__name__ in message:
        interrupt = KeyboardInterrupt()
    if interrupt is not None:
        raise interrupt from None


def compute(name: str, problem: ctypes.Structure) -> None:
    """Run an interruptible function of the library. Raises MemoryError, KeyboardInterrupt."""
    run(name, ctypes.byref(problem))


def run(name: str, *arguments) -> int:
    """Run an interruptible function on a problem's address; return its code. Raises as `compute`."""
    global _interrupt
    try:
        code = getattr(_load(), name)(*arguments)
    except KeyboardInterrupt as error:
        _interrupt = error
        raise
    if code == 2:
        raise MemoryError("not enough memory for the work space of a layer")
    return code


def call(name: str, *arguments: int | ctypes.Structure) -> int:
    """Run a fast function of the library on integers, addresses and problems."""
    return getattr(_load(), name)(*arguments)


def function(name: str) -> Callable[[int], None]:
    """Return a function of the library."""
    return getattr(_load(), name)
