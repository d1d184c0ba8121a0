"""Versions of seqtwin, the frameworks and Python, from the records of the installation."""

from __future__ import annotations

import platform
from importlib import metadata

PACKAGES = {
    "seqtwin": ("seqtwin",),
    "paddle": ("paddlepaddle", "paddlepaddle-gpu"),
    "torch": ("torch",),
}
"""Names in the output, and the packages that provide them."""


def versions_text() -> str:
    """Return a line per package. Nothing is imported, so a broken framework has a version too."""
    found = {name: _version(packages) for name, packages in PACKAGES.items()}
    found["python"] = platform.python_version()
    return "".join(f"{name:<9}{version}\n" for name, version in found.items())


def _version(packages: tuple[str, ...]) -> str:
    for package in packages:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return "not installed"
