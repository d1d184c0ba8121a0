"""Provide the command-line programs: they choose data, spec and backend and call `core`."""

import importlib.util
import sys
from pathlib import Path


def _check_neighbors() -> None:
    """End the process with one line if another package hides `core` or `backends`, whose names are common."""
    root = Path(__file__).resolve().parents[1]
    for name in ("core", "backends"):
        found = importlib.util.find_spec(name)
        if found is None:
            problem = f"no package {name} in {root}: install seqtwin again"
        else:
            file = Path(found.origin or next(iter(found.submodule_search_locations or ())))
            if (file.parent if found.origin else file).resolve() == root / name:
                continue
            problem = f"{file} hides the package {name} of seqtwin: rename it, or use the command seqtwin"
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(2)


_check_neighbors()
