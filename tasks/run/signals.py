"""Handle Ctrl-C, TERM and HUP: a run finishes its step, saves a checkpoint and stops."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack, contextmanager

from core.engine.processes import PeerLost, ended_peer
from tasks.cli.console import console, errors
from tasks.cli.terminal import error


def stop_numbers() -> tuple[int, ...]:
    """Return the signals that stop a run: Ctrl-C, TERM, and HUP of a closed terminal, unless `nohup` ignores it."""
    found = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        found.append(signal.SIGHUP)
    return tuple(found)


STUCK = 20.0
"""Seconds after TERM in which a process of several must react. Launchers kill it after 30."""


@contextmanager
def stop_signals(processes: int = 1):
    """Yield a function that returns whether Ctrl-C, TERM or HUP was received. A second signal aborts at once.

    In a run of several processes, each gets the signals that its launcher forwards, and Ctrl-C from the terminal too.
    Launchers repeat TERM (Paddle's sends three in half a second), so repeated TERM counts as one; the launcher kills a
    process that does not stop. One that waits for a process that has ended is ended here, with an error.
    """
    received, several = [], processes > 1

    def note(number, frame):
        if not received and not console.quiet:
            errors.print("finishing this step and saving; press Ctrl-C again to abort")
        received.append(number)
        for name, handler in before.items():
            if not several or name == number == signal.SIGINT:
                signal.signal(name, handler)

    if threading.current_thread() is not threading.main_thread():
        # Python handles signals in the main thread alone.
        yield lambda: False
        return
    before = {name: signal.signal(name, note) for name in stop_numbers()}
    try:
        with ExitStack() as during:
            if several:
                during.enter_context(_end_if_stuck(processes, received))
            yield lambda: bool(received)
    except PeerLost:
        # The launcher will also send TERM; ignore it until the error is printed.
        received.append(signal.SIGTERM)
        raise
    finally:
        for name, handler in before.items():
            if not (several and received and name == signal.SIGTERM):
                signal.signal(name, handler)


@contextmanager
def _end_if_stuck(processes: int, received: list[int]):
    """End this process with an error if TERM does not reach `received` within `STUCK` seconds.

    A Python handler runs only between two instructions of the interpreter. If another process is killed, PyTorch's
    gloo sometimes waits for it within one, for 30 minutes. The signal's number arrives in a pipe at once.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    left = threading.Event()

    def watch() -> None:
        while number := os.read(reader, 1):
            if number[0] == signal.SIGTERM and not left.wait(STUCK) and not received:
                error(ended_peer(processes, "it does not answer"))
                os._exit(2)
        os.close(reader)

    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        left.set()
        os.close(writer)
