"""Threads of NumPy's matrix products.

OpenBLAS, which the wheels of NumPy contain, starts a thread per core for a large product. These threads then wait
busily for the next one, and take the cores from the compiled kernels.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np

PREFIXES, SUFFIXES = ("scipy_openblas", "openblas"), ("64_", "")
"""Beginnings and ends of the names of OpenBLAS's functions, by build."""


def use_one_thread() -> bool:
    """Limit the products of this process to one thread; return False for another library than a wheel's OpenBLAS."""
    found = False
    for function in _functions("set_num_threads"):
        function(1)
        found = True
    return found


def threads() -> list[int]:
    """Return the number of threads of every OpenBLAS that a wheel of NumPy brought."""
    return [function() for function in _functions("get_num_threads")]


_kept: list[list[int]] = []
"""Numbers of threads before each block of `kept_threads` that is running, in any thread of Python."""
_lock = Lock()


@contextmanager
def kept_threads() -> Iterator[None]:
    """Restore the number of threads of every OpenBLAS after the block: they are the caller's.

    Of blocks that overlap in several threads, the last one restores what the first one found.
    """
    with _lock:
        _kept.append(_kept[0] if _kept else threads())
    try:
        yield
    finally:
        with _lock:
            before = _kept.pop()
            if not _kept:
                for function, number in zip(_functions("set_num_threads"), before, strict=True):
                    function(number)


def _functions(name: str) -> Iterator[Callable[..., int]]:
    folder = Path(np.__file__).parents[1] / "numpy.libs"
    # NumPy has loaded the library: loading it again returns the same one.
    for path in sorted(folder.glob("*openblas*")):
        library = ctypes.CDLL(str(path))
        names = [f"{prefix}_{name}{suffix}" for prefix in PREFIXES for suffix in SUFFIXES]
        yield from (getattr(library, own) for own in names if hasattr(library, own))
