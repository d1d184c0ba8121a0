"""Compiled recurrent kernels for the CPU, with a ctypes interface shared by both backends.

`pip install` compiles the library (`setup.py`). If that failed, `failure()` returns the reason and no other function
may be called. The library depends on no framework and not on Python: it receives addresses of C-contiguous arrays on
the CPU, which `arguments` checks. It releases the GIL while it computes, and handles Ctrl-C.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Sequence
from pathlib import Path

from backends.kernels import arguments
from core.engine.machine import usable_cores
from core.models.encoders.recurrent import WEIGHT_KINDS, LayerSizes

LIBRARY = Path(__file__).with_name("recurrent.so")
NOTE = LIBRARY.with_suffix(".txt")  # reason of `setup.py` for a missing library
CELLS = {"srn": 0, "gru": 1, "lstm": 2, "residual_srn": 3}
TARGETS = ("portable", "avx2", "avx512")
ADDRESS = ctypes.c_void_p
NEEDED = dict.fromkeys(("x", "output", *WEIGHT_KINDS))
"""Arrays of a pass that must not be None, as arguments that are."""
WEIGHTS = frozenset((*WEIGHT_KINDS, *(f"d_{kind}" for kind in WEIGHT_KINDS)))
"""Arrays of a pass that are lists, with one for each direction."""


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
    library.seqtwin_saved_bytes.argtypes = [ctypes.POINTER(Problem), ctypes.c_int64]
    library.seqtwin_saved_bytes.restype = ctypes.c_size_t
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
    global _interrupt
    try:
        code = getattr(_load(), name)(ctypes.byref(problem))
    except KeyboardInterrupt as error:
        _interrupt = error
        raise
    if code == 2:
        raise MemoryError("not enough memory for the work space of a layer")


def call(name: str, *arguments: int | ctypes.Structure) -> int:
    """Run a fast function of the library on integers, addresses and problems."""
    return getattr(_load(), name)(*arguments)


class Pass:
    """One layer over one batch: `forward`, then at most one `backward`.

    Arrays are given by the names of `Problem`: a list for one per direction, None for a missing one. They are NumPy
    arrays or tensors. The caller keeps them alive until the last pass. Raises TypeError or ValueError for an array of
    another dtype or shape, on another device, or not C-contiguous.
    """

    _saved: int | None = None

    def __init__(self, sizes: LayerSizes, shape: Sequence[int], float64: bool):
        """Set the sizes; `shape` of x: [B, L, I], with the sequences of all models, model by model.

        Raises ValueError as `arguments.layer_shapes`.
        """
        self.shapes = arguments.layer_shapes(sizes, tuple(shape))
        self.directions, self.dtype = sizes.directions, "float64" if float64 else "float32"
        batch, width, inputs = shape
        models = sizes.models or 1
        self.problem = Problem(
            CELLS[sizes.cell],
            float64,
            sizes.directions,
            threads(),
            models,
            batch // models,
            width,
            inputs,
            sizes.hidden,
        )

    def forward(self, keep: bool, lengths: arguments.Array, **arrays: arguments.Arrays) -> None:
        """Write `output`, and `h_n` and `c_n` if given.

        `lengths`: [B] int64, 1 <= length <= L, copied for `backward`; `keep`: store the gates for `backward`.
        """
        batch, width, _ = self.shapes["x"]
        self._lengths = arguments.integers("lengths", lengths, (batch,), "int64", range(1, width + 1))
        self.problem.lengths = self._lengths.buffer_info()[0]
        self._point({**NEEDED, **arrays})
        if keep:
            library = _load()
            self._saved = library.seqtwin_take(library.seqtwin_saved_bytes(self.problem, sum(self._lengths)))
            if not self._saved:
                raise MemoryError("not enough memory for the backward pass of a recurrent layer")
            # Stored here: at interpreter exit, names of this module may be deleted before the last pass.
            self._give_back = library.seqtwin_give_back
            self.problem.saved = self._saved
        compute("seqtwin_forward", self.problem)

    def backward(self, **arrays: arguments.Arrays) -> None:
        """Write the gradients that are given. Raises RuntimeError in a second call.

        The first call overwrites the stored gates.
        """
        if self._saved is None:
            raise RuntimeError("second backward pass: the fast implementation stores its gates for one pass only")
        self._point(arrays)
        try:
            compute("seqtwin_backward", self.problem)
        finally:
            self.close()

    def close(self) -> None:
        """Release the memory for `backward`."""
        saved, self._saved = self._saved, None
        if saved is not None:
            self._give_back(saved)

    __del__ = close

    def _point(self, arrays: dict[str, arguments.Arrays]) -> None:
        """Check arrays and set their addresses."""
        problem, dtype = self.problem, self.dtype
        for name, array in arrays.items():
            shape = self.shapes.get(name, arguments.UNKNOWN)
            if name in WEIGHTS:
                addresses = getattr(problem, name)
                for side, one in enumerate(arguments.sides(name, array, self.directions)):
                    needed = one is not None or name in NEEDED
                    addresses[side] = arguments.address(name, one, shape, dtype) if needed else None
            else:
                needed = array is not None or name in NEEDED
                setattr(problem, name, arguments.address(name, array, shape, dtype) if needed else None)


def by_direction(prefix: str, weights: Sequence[arguments.Array | None]) -> dict[str, Sequence[arguments.Array | None]]:
    """Return the weights of every direction, given one after the other, by the names of `Problem`."""
    return {prefix + kind: weights[place :: len(WEIGHT_KINDS)] for place, kind in enumerate(WEIGHT_KINDS)}
