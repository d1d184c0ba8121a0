"""Idle OpenMP threads of a framework sleep soon, unless the user's environment says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from core.engine.openmp import SPINS, limit_spinning
from tests.conftest import INSTALLED, ROOT


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"GOMP_SPINCOUNT": SPINS}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
    ],
)
def test_what_the_user_set_stays(given, expected):
    environment = dict(given)
    limit_spinning(environment)
    assert environment == expected


@pytest.mark.skipif("torch" not in INSTALLED, reason="needs PyTorch")
def test_it_is_set_before_torch_is_imported():
    """An audit hook sees the variable when the import of torch begins."""
    code = (
        "import os, sys\n"
        "seen = []\n"
        "def hook(event, arguments):\n"
        "    if event == 'import' and arguments[0] == 'torch': seen.append(os.environ.get('GOMP_SPINCOUNT'))\n"
        "sys.addaudithook(hook)\n"
        "import backends.torch.framework\n"
        "print(seen[0])\n"
    )
    clean = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == SPINS
