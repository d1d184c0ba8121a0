"""Fixtures of run folders."""

from __future__ import annotations

import pytest

from core.train.run_folder import RunFolder
from tests.core.train.complete_run import complete


@pytest.fixture
def folder(tmp_path, rng) -> RunFolder:
    """A complete run folder."""
    return complete(tmp_path / "runs" / "one", rng)
