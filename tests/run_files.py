"""Edit files of a run as a user would who knows what they do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def edited(path: Path, checked: bool = False) -> Iterator[Any]:
    """Yield the content of a JSON file, to be changed; its digest becomes null, or stays if `checked`."""
    tree = json.loads(path.read_text(encoding="utf-8"))
    yield tree
    if isinstance(tree, dict) and "digest" in tree and not checked:
        tree["digest"] = None
    path.write_text(json.dumps(tree), encoding="utf-8")
