"""Texts without labels, for word vectors: IMDB reviews, lines of text files, columns of tables."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from core.data.documents import Document, Source
from core.data.download import Progress, file_digest, no_progress
from core.data.sources import imdb
from core.data.sources.table_columns import read_texts
from core.data.sources.tar_archive import opened
from core.data.text_files import TextLines, check_regular
from core.errors import UserError
from core.files import user_path

KINDS = ("neg", "pos", "unsup")
REVIEW = re.compile(r"(?:^|/)train/(neg|pos|unsup)/([0-9]{1,9})_([0-9]{1,9})\.txt$")
LONGEST_TEXT = 1_000_000
"""Maximum characters of a text: a longer line is divided at white space, so that memory stays small."""

Key = tuple[str, int, int]


def open_reviews(source: str, cache_dir: str | Path, progress: Progress = no_progress) -> Source:
    """Open the training reviews of `source`, and its unlabeled ones if it has them; never the test reviews.

    `source` is that of `imdb.open_source`; the packaged reviews have no unlabeled ones. Raises UserError like it.
    """
    if source == "packaged":
        packaged = imdb.open_source(source, cache_dir, progress)
        return replace(packaged, description=packaged.description.partition(";")[0])
    kind: Literal["official", "path"] = "official" if source == "official" else "path"
    path = imdb.official_archive(Path(cache_dir), progress) if kind == "official" else user_path(source)
    if not path.exists():
        raise UserError(f"{path}: no such archive or folder: give another path, or use packaged or official")
    if path.is_dir():
        files, fingerprint = _files(path)
        return Source(
            kind,
            f"{path}: {_counts(path, files)}",
            fingerprint,
            len(files),
            lambda: _decoded(path, sorted(files), lambda key: _content(path, files[key])),
        )
    with opened(path, to_the_end=False):  # rejects a file of another kind
        pass
    told = "official" if kind == "official" else str(path)
    fingerprint = f"sha256:{file_digest(path, 'sha256')}"
    return Source(kind, f"{told}: training and unlabeled reviews", fingerprint, None, lambda: _unpacked(path, progress))


def _files(path: Path) -> tuple[dict[Key, str], str]:
    """Return the paths of the reviews in a folder by their key, and a fingerprint."""
    root = path / "aclImdb" if (path / "aclImdb").is_dir() else path
    files: dict[Key, str] = {}
    digest = hashlib.sha256()
    for kind in KINDS:
        folder = root / "train" / kind
        if kind == "unsup" and not folder.is_dir():
            continue
        try:
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda own: own.name):
                    match = REVIEW.search(f"train/{kind}/{entry.name}")
                    if match and entry.is_file():
                        status = entry.stat()
                        files[_key(match)] = entry.path
                        line = f"{kind}/{entry.name}\0{status.st_size}\0{status.st_mtime_ns}\n"
                        digest.update(line.encode("utf-8", "surrogateescape"))
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{path}: no {folder}: give the folder that contains train/pos and train/neg") from None
        except OSError as error:
            raise UserError(f"{folder}: cannot be read ({error.strerror}): check its permissions") from None
    return files, f"folder:{digest.hexdigest()}"


def _content(path: Path, file: str) -> bytes:
    try:
        with open(file, "rb") as stream:  # noqa: PTH123 (75,000 files)
            content = stream.read(imdb.LONGEST_REVIEW + 1)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}): check its permissions") from None
    imdb.check_size(path, file, len(content), imdb.LONGEST_REVIEW)
    return content


def _unpacked(path: Path, progress: Progress) -> Iterator[Document]:
    """Read all reviews of an archive (100 MB), then yield them in the order of a folder."""
    contents: dict[Key, bytes] = {}
    size = path.stat().st_size
    with opened(path) as (tar, tell):
        for number, member in enumerate(tar):
            if number % 500 == 0:
                progress(f"reading {path.name}", tell(), size)
            match = REVIEW.search(member.name) if member.regular else None
            if match:
                imdb.check_size(path, match[0].removeprefix("/"), member.size, imdb.LONGEST_REVIEW)
                contents[_key(match)] = tar.content()
    progress(f"reading {path.name}", size, size)
    _counts(path, contents)
    yield from _decoded(path, sorted(contents), contents.pop)


def _key(match: re.Match) -> Key:
    return match[1], int(match[2]), int(match[3])


def _counts(path: Path, found: dict[Key, object] | dict[Key, str] | dict[Key, bytes]) -> str:
    """Describe the numbers of reviews. Raises UserError unless those of a complete dataset are there."""
    counts = Counter(kind for kind, _, _ in found)
    labeled, unlabeled = imdb.PER_CLASS, 4 * imdb.PER_CLASS
    if (counts["neg"], counts["pos"]) != (labeled, labeled) or counts["unsup"] not in (0, unlabeled):
        shown = ", ".join(f"{counts[kind]:,} {kind}" for kind in KINDS)
        raise UserError(
            f"{path}: expected {labeled:,} neg, {labeled:,} pos and {unlabeled:,} or 0 unsup reviews in train, got"
            f" {shown}: use a complete copy of the Large Movie Review Dataset"
        )
    return f"{2 * labeled:,} training and {counts['unsup']:,} unlabeled reviews"


def _decoded(path: Path, keys: list[Key], content_of: Callable[[Key], bytes]) -> Iterator[Document]:
    for key in keys:
        name = "train/{}/{}_{}".format(*key)
        try:
            yield Document(name, content_of(key).decode("utf-8"), "", "train")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}: {name}.txt is not UTF-8 at byte {error.start}: convert it, or use a new copy"
            ) from None


def open_texts(
    paths: Sequence[str], column: str, encoding: str, max_texts: int | None = None, progress: Progress = no_progress
) -> Source:
    """Open text files with one text per line, or with a `column` tables.

    Lines of white space are skipped. Raises UserError: a file missing, repeated, damaged, or not in the encoding; a
    table without that column.
    """
    files = [user_path(path) for path in paths]
    for place, path in enumerate(files):
        check_regular(path)
        if any(path.samefile(other) for other in files[:place]):
            raise UserError(f"{path}: given twice: give each file once")
    digests = [file_digest(path, "sha256") for path in files]
    fingerprint = hashlib.sha256(json.dumps([digests, column, encoding]).encode()).hexdigest()
    first, more = str(files[0]), len(files) - 1
    described = (f"{first} and {more} more file{'s' * (more > 1)}" if more else first) + (
        f", column {column}" if column else ""
    )

    def read() -> Iterator[Document]:
        for path in files:
            texts = _cells(path, column, encoding, progress) if column else _lines(path, encoding, progress)
            for number, text in enumerate(texts, 1):
                yield Document(f"{path.name}/{number}", text, "")

    return Source("path", described, f"texts:{fingerprint}", max_texts, read)


def _cells(path: Path, column: str, encoding: str, progress: Progress) -> Iterator[str]:
    """Yield the texts of a table."""
    try:
        for _, text in read_texts(path, None, column, encoding, progress):
            yield text
    except UserError as error:
        # The shared reader names the field of labeled tables.
        raise UserError(str(error).replace("`data.text_column`", "`data.column`")) from None


def _lines(path: Path, encoding: str, progress: Progress) -> Iterator[str]:
    """Yield the lines that are not blank; longer ones than `LONGEST_TEXT` in pieces."""
    lines, rest = TextLines(path, encoding, progress), ""
    for block in lines.blocks():
        if "\0" in block:
            raise UserError(f"{path}: a NUL character, so not text: save the file as UTF-8 text")
        *whole, rest = (rest + block).split("\n")
        for line in whole:
            yield from _pieces(line, 1)
        if len(rest) > LONGEST_TEXT:
            *pieces, rest = _pieces(rest, 0)
            yield from pieces
    yield from _pieces(rest, 1)


def _pieces(line: str, least: int) -> Iterator[str]:
    """Yield a line in pieces of at most `LONGEST_TEXT` characters that end at white space if possible.

    Blank pieces are skipped; with `least` 0 the last one is not.
    """
    while len(line) > LONGEST_TEXT:
        space = re.search(r"\s\S*\Z", line[:LONGEST_TEXT])
        end = space.start() + 1 if space and space.start() else LONGEST_TEXT
        if line[:end].strip():
            yield line[:end]
        line = line[end:]
    if not least or line.strip():
        yield line
