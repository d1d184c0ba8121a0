"""The unlabeled IMDB reviews: `train/unsup/0_0.txt` of the Large Movie Review Dataset, in an archive or a folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from core.data.download import Progress
from core.data.sources.imdb import DIGITS, LONGEST_REVIEW
from core.data.sources.tar_archive import opened
from core.errors import UserError

UNLABELED = re.compile(rf"(?:^|/)train/unsup/(\d{{1,{DIGITS}}})_\d{{1,{DIGITS}}}\.txt$", re.ASCII)


def fingerprint(path: Path) -> str:
    """Return what changes with the unlabeled reviews of a folder; "" for an archive, whose digest covers them."""
    if not path.is_dir():
        return ""
    digest = hashlib.sha256()
    for name, file in _files(path):
        status = file.stat()
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return f"folder:{digest.hexdigest()}"


def read_unlabeled(path: Path, progress: Progress) -> Iterator[str]:
    """Yield the texts of an archive or a folder, in the order of their numbers.

    Raises UserError for a damaged archive, and for a review that cannot be read, is too long or is not UTF-8.
    """
    found = dict(_in_folder(path, progress) if path.is_dir() else _in_archive(path, progress))
    for name in sorted(found, key=_number):
        try:
            yield found.pop(name).decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}: {name} is not UTF-8 at byte {error.start}: convert it, or use a new copy"
            ) from None


def _number(name: str) -> tuple[int, str]:
    match = UNLABELED.search(name)
    return int(match[1]) if match else -1, name


def _in_archive(path: Path, progress: Progress) -> Iterator[tuple[str, bytes]]:
    size = path.stat().st_size
    with opened(path) as (tar, tell):
        for number, member in enumerate(tar):
            if number % 500 == 0:
                progress(f"reading unlabeled reviews of {path.name}", tell(), size)
            if member.regular and (match := UNLABELED.search(member.name)):
                _check_size(path, match[0], member.size)
                yield match[0].removeprefix("/"), tar.content()
    progress(f"reading unlabeled reviews of {path.name}", size, size)


def _in_folder(path: Path, progress: Progress) -> Iterator[tuple[str, bytes]]:
    files = _files(path)
    for number, (name, file) in enumerate(files):
        if number % 500 == 0:
            progress(f"reading unlabeled reviews of {path.name}", number, len(files))
        try:
            with file.open("rb") as stream:
                content = stream.read(LONGEST_REVIEW + 1)
        except OSError as error:
            raise UserError(f"{file}: cannot be read ({error.strerror}): check its permissions") from None
        _check_size(path, name, len(content))
        yield name, content
    progress(f"reading unlabeled reviews of {path.name}", len(files), len(files))


def _files(path: Path) -> list[tuple[str, Path]]:
    """Return the sorted names and paths of the unlabeled reviews of a folder; none if it has no such folder."""
    root = path / "aclImdb" if (path / "aclImdb").is_dir() else path
    folder = root / "train" / "unsup"
    if not folder.is_dir():
        return []
    try:
        # A pipe that is named like a review would block forever.
        files = sorted(file for file in folder.iterdir() if file.is_file())
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}): check its permissions") from None
    named = [(f"train/unsup/{file.name}", file) for file in files]
    return [(name, file) for name, file in named if UNLABELED.search(name)]


def _check_size(path: Path, name: str, size: int) -> None:
    if size > LONGEST_REVIEW:
        raise UserError(
            f"{path}: {name[:100]} has more than {LONGEST_REVIEW:,} bytes, expected at most that:"
            f" use a new copy of the dataset"
        )
