"""Handle Ctrl-C and TERM: a run finishes its step, saves a checkpoint and stops."""

from __future__ import annotations

import signal
from contextlib import contextmanager

from core.engine.processes import PeerLost
from tasks.cli.console import console, errors


@contextmanager
def stop_signals(several: bool = False):
    """Yield a function that returns whether Ctrl-C or TERM was received. A second signal aborts at once.

    In a distributed run (`several`), each process gets the signals that its launcher forwards, and Ctrl-C from the
    terminal too. Launchers repeat TERM (Paddle's sends three in half a second), so repeated TERM counts as one; the
    launcher kills a process that does not stop.
    """
    received = []

    def note(number, frame):
        if not received and not console.quiet:
            errors.print("finishing this step and saving; press Ctrl-C again to abort")
        received.append(number)
        for name, handler in before.items():
            if not several or name == number == signal.SIGINT:
                signal.signal(name, handler)

    before = {name: signal.signal(name, note) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    except PeerLost:
        # The launcher will also send TERM; ignore it until the error is printed.
        received.append(signal.SIGTERM)
        raise
    finally:
        for name, handler in before.items():
            if not (several and received and name == signal.SIGTERM):
                signal.signal(name, handler)
