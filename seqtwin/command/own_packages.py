"""Import the packages of seqtwin from its own folder.

Their names are common. A user's `core.py` on PYTHONPATH, or a folder `tasks` next to an editable installation, must not
take their place.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("core", "backends", "tasks")
"""In the order in which they import one another."""


def import_own() -> None:
    """Import the packages, unless they are imported already. Their modules are then found in their folders."""
    for name in NAMES:
        if name in sys.modules:
            continue
        folder = ROOT / name
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
