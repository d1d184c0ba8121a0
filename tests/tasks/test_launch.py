"""The first and the last second of a program: what is imported is said, and the end waits for nothing but its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

import backends
from tests.conftest import ROOT

LAUNCHED = """
import atexit, sys, threading, time
from tasks.cli.console import console, launch

class Slow:
    def __del__(self):
        time.sleep(600)

sys.modules["slow"] = kept = Slow()
kept.itself = kept

def late():
    time.sleep(0.2)
    print("thread")

def main(argv):
    threading.Thread(target=late).start()
    atexit.register(lambda: print("exit function", end=""))
    console.print(f"arguments {argv}")
    return 7

launch(main)
"""


def test_launch_ends_with_the_exit_code_and_without_clearing_modules():
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHED, "--a", "b"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout == "arguments ['--a', 'b']\nthread\nexit function"


def test_launch_shows_the_traceback_of_a_bug():
    code = "from tasks.cli.console import launch\nlaunch(lambda argv: 1 / 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and done.stderr.rstrip().endswith("ZeroDivisionError: division by zero")


LOADED = """
import sys
from tasks.cli.framework import load_backend
load_backend(sys.argv[1])
load_backend(sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in backends.NAMES if backends.installed(name)])
def test_load_backend_says_once_what_is_imported(name):
    done = subprocess.run([sys.executable, "-c", LOADED, name], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines().count(f"importing {name}") == 1 and done.stderr.startswith(f"importing {name}\n")
