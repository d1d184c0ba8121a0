"""The process that tokenizes for another one. Its imports are few: every one takes time and memory in each process."""

from __future__ import annotations

import os
import pickle
import signal
import sys

from core.data.token_numbers import TokenNumbers

CODE = f"from {__name__} import serve; serve()"


def serve() -> None:
    """Number the batches of standard input until it ends. This is the main function of a process.

    The input is pickled: `TokenizerSettings`, then the arguments of `TokenNumbers.number` for every batch.
    """
    given = sys.stdin.buffer
    results = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a package prints is not a result
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    numbers = TokenNumbers(pickle.load(given))
    while True:
        try:
            texts, wanted = pickle.load(given)
        except EOFError:
            return
        pickle.dump(numbers.number(texts, wanted), results, pickle.HIGHEST_PROTOCOL)
        results.flush()
