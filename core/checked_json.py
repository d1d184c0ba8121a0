"""JSON files with a digest of their content, so that damage is noticed when they are read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.files import write_json_atomic

DIGEST = "digest"


def digest_of(tree: dict) -> str:
    """Return the SHA-256 of an object's canonical JSON, without its own digest, as `sha256:HEX`."""
    rest = {key: value for key, value in tree.items() if key != DIGEST}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def file_digest_of(data: bytes) -> str:
    """Return the SHA-256 of the bytes of a file, as `sha256:HEX`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def write_checked_json(path: str | Path, tree: dict, indent: int | None = 2) -> None:
    """Write an object with its digest, by `write_json_atomic`. Raises ValueError for NaN or infinity."""
    # Values as JSON gives them back: tuples become lists, and keys strings.
    plain = json.loads(json.dumps(tree, allow_nan=False))
    write_json_atomic(path, {**plain, DIGEST: digest_of(plain)}, indent)


def read_checked_json(path: Path, since: int) -> dict:
    """Read an object, and check its digest. Return it without the digest.

    Files of a `format` before `since` have none. A digest of null is not checked: it marks a file that was edited on
    purpose. Raises UserError if the file is missing, not an object in JSON, or changed since it was written.
    """
    tree = read_json(path)
    version = tree.get("format", 0)
    if DIGEST not in tree:
        if type(version) is not int or version < since:
            return tree
        raise UserError(f"{path}: damaged, its digest is missing: restore the file")
    check_digest(tree, path)
    return {key: value for key, value in tree.items() if key != DIGEST}


def check_digest(tree: dict, path: Path) -> None:
    """Raise UserError if an object has a digest other than null, and not this one."""
    if tree.get(DIGEST) is not None and tree[DIGEST] != digest_of(tree):
        raise UserError(
            f'{path}: changed since it was written: restore the file (if you edited it, set its "{DIGEST}" to null)'
        )


def read_json(path: Path) -> dict:
    """Read an object from a JSON file. Raises UserError if it is missing or invalid."""
    try:
        tree = parse_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): check the path") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path}: damaged, not JSON: restore the file") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: damaged, not a JSON object: restore the file")
    return tree


def parse_json(data: str | bytes) -> Any:
    """Parse JSON without NaN and infinity.

    Raises ValueError if it is none, and for integers of thousands of digits; RecursionError for deep nesting.
    """
    return json.loads(data.decode("utf-8") if isinstance(data, bytes) else data, parse_constant=_refuse)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")
