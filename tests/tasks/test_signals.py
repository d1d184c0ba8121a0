"""TERM in a run of several processes: a process that works stops by itself, one that waits forever is ended."""

import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import ROOT

START = """
import ctypes, threading, time
from tasks.run import signals
signals.STUCK = 0.2
with signals.stop_signals(2) as stopped:
"""
WAITS = """
    # Said when the main thread waits: before, its handler would still run.
    threading.Timer(2.0, print, ["ready"], {"flush": True}).start()
    mutex, library = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    library.pthread_mutex_init(mutex, None)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)  # forever, and no Python handler runs
"""
WORKS = """
    print("ready", flush=True)
    while not stopped():
        time.sleep(0.01)
    time.sleep(1.0)  # a step, and the checkpoint
print("saved", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize(("body", "code", "says"), [(WAITS, 2, "error: another of this run's 2"), (WORKS, 0, "saved")])
def test_term_in_a_run_of_several_processes(body, code, says):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    with subprocess.Popen([sys.executable, "-c", START + body], **pipes) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == code and says in out + err
