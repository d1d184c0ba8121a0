"""Import of Paddle without its side effects; all other modules import `paddle` from here."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
import zlib  # noqa: F401  Paddle 2.6 exports zlib symbols: Python's must be bound first.

from core.engine.machine import usable_cores
from core.engine.tf32 import forbid_tf32


def _import_paddle():
    # Paddle reads the number of threads once, at import; the default is 1.
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))
    os.environ.setdefault("GLOG_minloglevel", "2")  # silences the executor's messages
    # Paddle enables TF32 for float32, and has no public switch.
    forbid_tf32()
    handlers = list(logging.getLogger().handlers)
    # Paddle warns about a missing ccache, which is only needed to compile operators, and about several threads.
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        import paddle
    for handler in logging.getLogger().handlers[:]:
        if handler not in handlers:
            logging.getLogger().removeHandler(handler)
    # Paddle's signal handlers would replace Ctrl-C and crashes by a report.
    paddle.disable_signal_handler()
    if threads is None:
        os.environ.pop("OMP_NUM_THREADS", None)
    else:
        os.environ["OMP_NUM_THREADS"] = threads
    return paddle


paddle = _import_paddle()
