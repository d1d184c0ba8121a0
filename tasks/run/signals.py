"""Ctrl-C and TERM: a run finishes its step, saves, and stops."""

from __future__ import annotations

import signal
from contextlib import contextmanager

from core.engine.processes import PeerLost
from tasks.cli.console import console, errors


@contextmanager
def stop_signals(several: bool = False):
    """Yield a function that tells whether Ctrl-C (or a TERM signal) came. A second one stops at once, as usual.

    Of `several` processes each gets the signals that its launcher passes on, and from a terminal Ctrl-C itself too.
    TERM comes as often as a launcher likes, Paddle's sends three in half a second, so all of them are one wish, to the
    process's end: what does not stop the launcher kills.
    """
    received = []

    def note(number, frame):
        if not received and not console.quiet:
            errors.print("stopping after this step, and saving; once more stops at once")
        received.append(number)
        for name, handler in before.items():
            if not several or name == number == signal.SIGINT:
                signal.signal(name, handler)

    before = {name: signal.signal(name, note) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    except PeerLost:
        # The launcher will send TERM too, and there is something to say first.
        received.append(signal.SIGTERM)
        raise
    finally:
        for name, handler in before.items():
            if not (several and received and name == signal.SIGTERM):
                signal.signal(name, handler)
