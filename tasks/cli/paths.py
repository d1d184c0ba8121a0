"""Locate the cache folder and name new run folders."""

from __future__ import annotations

import os
import shlex
from datetime import datetime
from pathlib import Path

from core.strings import CONTROL


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


def quoted(text: str | Path) -> str:
    """Quote a path or a text for a shell command to copy; control characters become escapes, as in bash `$'a\\nb'`."""
    text = str(text)
    if not CONTROL.search(text):
        return shlex.quote(text)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{CONTROL.sub(lambda match: _escape(ord(match[0])), escaped)}'"


def _escape(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        code -= 0xDC00
        return f"\\x{code:02x}"
    return f"\\x{code:02x}" if code < 128 else f"\\u{code:04x}"
