"""Fetching one file over HTTP: shown while it goes on, taken up again after a break, checked before it is used."""

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
"""`progress(description, done, total)`; `total` is None where it is not known."""

CHUNK = 1 << 20
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, OSError)


def no_progress(description: str, done: int, total: int | None) -> None:
    """Show nothing."""


def file_digest(path: Path, algorithm: str) -> str:
    """Hexadecimal digest of a file's bytes. Raises UserError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): check its permissions") from None


def fetch(url: str, target: Path, md5: str, progress: Progress = no_progress, timeout: float = 30.0) -> None:
    """Bring `url` to `target`, by way of `target` + ".part", which a later call takes up where this one broke off.

    `target` only ever appears with the right checksum; if it is there, nothing is fetched. `timeout` is in seconds of
    silence. Raises UserError: no connection, no space, wrong checksum (of an existing `target` too, which is kept).
    """
    target = Path(target)
    if target.exists():
        if file_digest(target, "md5") != md5:
            raise UserError(f"{target}: damaged (its MD5 is not {md5}): remove it and run again")
        return
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{target.parent}: cannot be made ({error.strerror}): choose another cache folder") from None
    try:
        _download(url, part, progress, timeout)
    except NETWORK_ERRORS as error:
        reason = error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", None) or error
        kept = f"; the part that came is kept as {part}" if part.exists() else ""
        raise UserError(f"{url}: could not be fetched ({_one_line(reason)}){kept}: run again to go on") from None
    found = file_digest(part, "md5")
    if found != md5:
        part.unlink()
        raise UserError(f"{url}: what came is not the expected file (MD5 {found}, not {md5}); removed: run again")
    part.replace(target)


def _download(url: str, part: Path, progress: Progress, timeout: float) -> None:
    """Complete `part`. Raises one of NETWORK_ERRORS, or UserError if the disk refuses."""
    have = part.stat().st_size if part.exists() else 0
    try:
        response = _open(url, have, timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        # Nothing lies past what is here: the file is complete, or it is not the one that the server has now.
        if error.headers.get("Content-Range", "").strip() == f"bytes */{have}":
            return
        have, response = 0, _open(url, 0, timeout)
    with response:
        if have and not (response.status == 206 and _range_start(response) == have):
            if response.status == 206:
                raise http.client.HTTPException("the server sent another part of the file than was asked for")
            have = 0
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else None
        have = _copy(response, part, have, total, progress)
    # http.client returns a short body without a word when it is read by pieces.
    if total is not None and have < total:
        raise http.client.HTTPException(f"the connection closed after {have} of {total} bytes")


def _copy(response: http.client.HTTPResponse, part: Path, have: int, total: int | None, progress: Progress) -> int:
    """Append the body to `part` from byte `have` on; the number of bytes that `part` then holds."""
    description = f"downloading {part.name.removesuffix('.part')}"
    try:
        file = part.open("ab" if have else "wb")
    except OSError as error:
        raise _refused(part, error) from None
    with file:
        progress(description, have, total)
        while block := response.read1(CHUNK):
            try:
                # Unbuffered in effect: an interruption at any point leaves what was counted.
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
        f"{part}: could not be written ({error.strerror}); what came so far is kept: "
        f"free space or choose another cache folder, and run again to go on"
    )


def _one_line(error: object) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())
