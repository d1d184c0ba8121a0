"""Tables of word vectors from files and packages; what is slow to parse is kept in the cache folder.

A text file of 400,000 vectors takes seconds to parse. Its vectors are cached as .npy, which later runs map into memory,
and its words as a list. Both are named by the digest of the text. A small JSON file per path names them, and is valid
while the size and the modification time of the path are the same. Of a package only the words are cached, as its
vectors are .npy already.
"""

from __future__ import annotations

import hashlib
import json
import warnings
import zlib
from pathlib import Path

import numpy as np

from core.checked_json import read_checked_json, write_checked_json
from core.data.download import Progress, no_progress
from core.data.pretrained_vectors import PackageFiles, locate
from core.data.vector_binary import BinaryVectors
from core.data.vector_files import VectorText
from core.errors import UserError
from core.files import incremental_bytes_writer, remove_unfinished, write_bytes_atomic
from core.words.vector_table import VectorTable

FORMAT = 1
"""Format of the cache files, included in their names."""
SMALL = 4 << 20
"""A file of fewer bytes is parsed each time, without a cache."""
REPEATED = "repeated"
"""Reason for which a word of a file is left out: its first vector counts."""
BLOCK = 1 << 24
"""Bytes per call of a checksum."""


def open_table(source: str, cache_dir: Path, progress: Progress = no_progress) -> VectorTable:
    """Open all vectors of a package, `PATH` or `PATH.zip::MEMBER`, parsed or from the cache.

    A damaged cache is rebuilt. A cache that cannot be written causes a warning. Raises UserError like `locate` and
    `VectorText.read_all`, and for a package that is damaged or has a repeated word.
    """
    found = locate(source)
    path, member = (found.words, None) if isinstance(found, PackageFiles) else (found.path, found.member)
    status = path.stat()
    about = {
        "format": FORMAT,
        "path": str(path.resolve()),
        "member": member,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
    }
    if not isinstance(found, PackageFiles) and status.st_size < SMALL:
        return _parse(found, progress)[0]
    key = hashlib.sha256(json.dumps([FORMAT, about["path"], member]).encode()).hexdigest()[:16]
    entry = Path(cache_dir) / f"vectors-{key}.json"
    try:
        return _cached(entry, about, found)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, UserError) as error:
        progress(f"reading again, the cache of {path.name} is invalid ({' '.join(str(error).split())[:100]})", 0, None)
    table, digest = _package(found, progress) if isinstance(found, PackageFiles) else _parse(found, progress)
    try:
        _save(entry, about, table, digest, None if isinstance(found, PackageFiles) else table.values)
    except (OSError, UserError) as error:
        warnings.warn(f"parsed vectors are not cached: {error}", stacklevel=2)
    return table


def _parse(text: VectorText | BinaryVectors, progress: Progress) -> tuple[VectorTable, str]:
    """Parse a file to the table of its distinct words, and the digest of its text."""
    digest = hashlib.sha256()
    words: dict[str, None] = {}
    parts: list[np.ndarray] = []
    lines = 0
    for batch, values in text.read_all(digest.update, progress):
        fresh = []
        for place, word in enumerate(batch):
            if word not in words:
                words[word] = None
                fresh.append(place)
        parts.append(values if len(fresh) == len(batch) else values[fresh])
        lines += len(batch)
    if not words:
        raise UserError(f"{text.name}: all of its words have spaces: give vectors of single words")
    left_out = {REPEATED: lines - len(words)} if lines > len(words) else {}
    return VectorTable(text.name, list(words), np.concatenate(parts), left_out), digest.hexdigest()


def _package(files: PackageFiles, progress: Progress) -> tuple[VectorTable, str]:
    """Read the words of a package to its table, and their digest."""
    words = [word for batch in files.read_words(progress) for word in batch]
    if len(set(words)) != len(words):
        raise UserError(f"{files.words}: a word occurs twice: {files.advice}")
    digest = hashlib.sha256("\n".join(words).encode()).hexdigest()
    return VectorTable(files.name, words, files.matrix()), digest


def _save(entry: Path, about: dict, table: VectorTable, digest: str, values: np.ndarray | None) -> None:
    """Write the words and the vectors, then the file that names them."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(entry.parent)
    joined = "\n".join(table.words).encode()
    write_bytes_atomic(_words_file(entry, digest), joined)
    content = {"digest_of_text": digest, "words": len(table.words), "words_sha256": hashlib.sha256(joined).hexdigest()}
    if values is not None:
        with incremental_bytes_writer(_vectors_file(entry, digest)) as file:
            np.lib.format.write_array(file, values, allow_pickle=False)
        content["vectors_crc32"] = _checksum(values)
    write_checked_json(entry, {**about, **content, "left_out": table.left_out})


def _cached(entry: Path, about: dict, found: VectorText | BinaryVectors | PackageFiles) -> VectorTable:
    """Return the table of a cache entry.

    Raises FileNotFoundError if there is none or the file has changed; OSError, ValueError or UserError if the cache is
    damaged.
    """
    if not entry.is_file():
        raise FileNotFoundError(entry)
    content = read_checked_json(entry, since=1)
    if any(content.get(name) != value for name, value in about.items()):
        raise FileNotFoundError(entry)
    joined = _words_file(entry, content["digest_of_text"]).read_bytes()
    if hashlib.sha256(joined).hexdigest() != content["words_sha256"]:
        raise ValueError("checksum mismatch, words")
    words = joined.decode().split("\n")
    if isinstance(found, PackageFiles):
        values = found.matrix()
    else:
        values = np.load(_vectors_file(entry, content["digest_of_text"]), mmap_mode="r", allow_pickle=False)
        fits = values.dtype == np.float32 and values.shape[1:] == (found.dim,)
        if not fits or _checksum(values) != content["vectors_crc32"]:
            raise ValueError("checksum mismatch, vectors")
    if len(words) != len(values):
        raise ValueError(f"{len(words)} words for {len(values)} vectors")
    return VectorTable(found.name, words, values, content["left_out"])


def _checksum(values: np.ndarray) -> int:
    """Return the CRC-32 of a C-contiguous array's bytes, which takes a fraction of the time of a digest."""
    view, checksum = values.data.cast("B"), 0
    for start in range(0, len(view), BLOCK):
        checksum = zlib.crc32(view[start : start + BLOCK], checksum)
    return checksum


def _words_file(entry: Path, digest: str) -> Path:
    return entry.with_name(f"vectors-{digest[:16]}-{FORMAT}.words")


def _vectors_file(entry: Path, digest: str) -> Path:
    return entry.with_name(f"vectors-{digest[:16]}-{FORMAT}.npy")
