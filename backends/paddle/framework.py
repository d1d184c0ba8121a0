"""Imports Paddle and undoes what its import does to the process. Everything else takes `paddle` from here."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
import zlib  # noqa: F401  Paddle 2.6 exports zlib symbols of its own: Python's must be bound first.

from core.engine.machine import usable_cores
from core.engine.tf32 import forbid_tf32


def _import_paddle():
    # Paddle reads the number of threads once, at its import, and takes 1 if it is not told.
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))
    os.environ.setdefault("GLOG_minloglevel", "2")  # quiets its executor
    # float32 means float32: Paddle turns TF32 on, and has no public switch.
    forbid_tf32()
    handlers = list(logging.getLogger().handlers)
    # It warns of a missing ccache, which only matters to who compiles operators, and of more threads than one.
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        import paddle
    for handler in logging.getLogger().handlers[:]:
        if handler not in handlers:
            logging.getLogger().removeHandler(handler)
    # Its C handlers would turn Ctrl-C and a crash into a report of its own.
    paddle.disable_signal_handler()
    if threads is None:
        os.environ.pop("OMP_NUM_THREADS", None)
    else:
        os.environ["OMP_NUM_THREADS"] = threads
    return paddle


paddle = _import_paddle()
