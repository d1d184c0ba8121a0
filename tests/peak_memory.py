"""The error and the memory of a file that is refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from core.errors import UserError


def refusal(read: Callable[[], object]) -> tuple[str, int]:
    """Return the message of the UserError that `read` must raise, and the peak memory in bytes until then."""
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as error:
            read()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return str(error.value), peak
