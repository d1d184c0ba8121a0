"""Where programs keep things: the cache folder, names of new run folders."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path


def cache_folder(given: str | None) -> Path:
    """Where downloads and tokenised reviews are kept: `--cache-dir`, or the user's cache folder."""
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seqtwin"


def new_name(parent: Path, prefix: str) -> Path:
    """A run name that is free: the time, and a number where two start within one second."""
    stem = parent / f"{prefix}-{datetime.now():%Y%m%d-%H%M%S}"
    path, number = stem, 1
    while path.exists():
        number += 1
        path = Path(f"{stem}-{number}")
    return path
