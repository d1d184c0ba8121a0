"""Locate the cache folder and name new run folders."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path


def cache_folder(given: str | None) -> Path:
    """Return the folder of downloads and tokenized texts: `--cache-dir`, or the user's cache folder."""
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seqtwin"


def new_name(parent: Path, prefix: str) -> Path:
    """Return an unused run name: prefix and time, numbered if two runs start within a second."""
    stem = parent / f"{prefix}-{datetime.now():%Y%m%d-%H%M%S}"
    path, number = stem, 1
    while path.exists():
        number += 1
        path = Path(f"{stem}-{number}")
    return path
