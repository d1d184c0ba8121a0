"""Fixtures of the tests of the compiled library: its builds, and its state between tests."""

from __future__ import annotations

import pytest

from backends import kernels


@pytest.fixture(autouse=True)
def as_before():
    """Whatever a test chose, the next begins with the best build and its own number of threads."""
    yield
    if kernels.failure() is None:
        kernels.choose(None)
    kernels.set_threads(None)


@pytest.fixture(params=kernels.TARGETS)
def target(request):
    """Every build that this machine can run."""
    if not kernels.choose(request.param):
        pytest.skip(f"this machine or library has no {request.param}")
    assert kernels.target() == request.param
    return request.param
