"""Download of one file over HTTP, with progress, resume and checksum verification."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from core.errors import UserError

Progress = Callable[[str, int, int | None], None]
"""Callback `progress(description, done, total)`; `total` is None if unknown."""

CHUNK = 1 << 20
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, OSError)


def no_progress(description: str, done: int, total: int | None) -> None:
    """Show nothing."""


def file_digest(path: Path, algorithm: str) -> str:
    """Return the hexadecimal digest of a file's bytes. Raises UserError if it cannot be read."""
    # hashlib.file_digest exists only since Python 3.11.
    digest = hashlib.new(algorithm)
    try:
        with path.open("rb") as file:
            while block := file.read(CHUNK):
                digest.update(block)
        return digest.hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): check its permissions") from None


def fetch(url: str, target: Path, md5: str, progress: Progress = no_progress, timeout: float = 30.0) -> None:
    """Download `url` to `target`, through `target` + ".part", from which a later call resumes.

    `target` is only created with the right checksum; if it exists, nothing is downloaded. `timeout`: seconds without
    data. Raises UserError: no connection, no space, checksum mismatch (also of an existing `target`, which is kept).
    """
    target = Path(target)
    if target.exists():
        if file_digest(target, "md5") != md5:
            raise UserError(f"{target}: checksum mismatch (expected MD5 {md5}): remove the file and retry")
        return
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{target.parent}: cannot be created ({error.strerror}): choose another cache folder") from None
    try:
        _download(url, part, progress, timeout)
    except NETWORK_ERRORS as error:
        reason = error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", None) or error
        kept = f"; partial download kept as {part}" if part.exists() else ""
        raise UserError(f"{url}: download failed ({_one_line(reason)}){kept}: retry to resume") from None
    found = file_digest(part, "md5")
    if found != md5:
        part.unlink()
        raise UserError(f"{url}: checksum mismatch (got MD5 {found}, expected {md5}); deleted, please retry")
    part.replace(target)


def _download(url: str, part: Path, progress: Progress, timeout: float) -> None:
    """Complete the partial file `part`.

    Raises one of NETWORK_ERRORS, or UserError for disk errors.
    """
    have = part.stat().st_size if part.exists() else 0
    try:
        response = _open(url, have, timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        # 416: no bytes follow the local ones. The file is complete, or the server has a different version.
        if error.headers.get("Content-Range", "").strip() == f"bytes */{have}":
            return
        have, response = 0, _open(url, 0, timeout)
    with response:
        if have and not (response.status == 206 and _range_start(response) == have):
            if response.status == 206:
                raise http.client.HTTPException("the server sent another byte range than requested")
            have = 0
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else None
        have = _copy(response, part, have, total, progress)
    # http.client raises no error for a short body that is read in chunks.
    if total is not None and have < total:
        raise http.client.HTTPException(f"the connection closed after {have} of {total} bytes")


def _copy(response: http.client.HTTPResponse, part: Path, have: int, total: int | None, progress: Progress) -> int:
    """Append the body to `part` from byte `have`; return the resulting size in bytes."""
    description = f"downloading {part.name.removesuffix('.part')}"
    try:
        file = part.open("ab" if have else "wb")
    except OSError as error:
        raise _refused(part, error) from None
    with file:
        progress(description, have, total)
        while block := response.read1(CHUNK):
            try:
                # Flushed per chunk, so that an interruption keeps every counted byte.
                file.write(block)
                file.flush()
            except OSError as error:
                raise _refused(part, error) from None
            have += len(block)
            progress(description, have, total)
        os.fsync(file.fileno())
    return have


def _open(url: str, start: int, timeout: float) -> http.client.HTTPResponse:
    headers = {"User-Agent": "seqtwin"}
    if start:
        headers["Range"] = f"bytes={start}-"
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)


def _range_start(response: http.client.HTTPResponse) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match.group(1)) if match else None


def _refused(part: Path, error: OSError) -> UserError:
    return UserError(
        f"{part}: cannot be written ({error.strerror}); partial download kept: "
        f"free disk space or choose another cache folder, then retry to resume"
    )


def _one_line(error: object) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())
