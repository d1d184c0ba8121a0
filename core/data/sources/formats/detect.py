"""The format of a table, by its content. The suffix of its name is only a hint for the delimiter."""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zipfile
from enum import Enum
from pathlib import Path

from core.data.sources.formats import fasttext
from core.data.text_files import PACKED, TextLines, is_packed
from core.errors import UserError

FASTTEXT_LINES = 20
"""Lines of a fastText file that are examined: most of them must begin with a label."""

START = 4096
"""Bytes by which `is_named_format` decides."""

ZIP = (b"PK\3\4", b"PK\5\6")

OLE = bytes.fromhex("d0cf11e0a1b11ae1")
"""First bytes of .xls files, and of .xlsx files with a password."""

JSON_ARRAY = re.compile(r"\[\s*(?:$|[\[\]{\"])")
JSON_OBJECT = re.compile(r"\{\s*(?:$|[}\"'])")


SUFFIXES = {
    "delimited": (".csv", ".tsv", ".tab"),
    "a JSON array": (".json",),
    "JSON Lines": (".jsonl", ".ndjson"),
    "fastText": (),
    "Excel": (".xlsx", ".xls", ".xlsb", ".ods"),
    "Parquet": (".parquet",),
}
"""Usual suffixes of file names by format, without .gz. Texts for fastText have no suffix of their own."""


class Format(Enum):
    """Formats of tables, each read by a module of its name in this folder."""

    DELIMITED = "delimited"
    JSON_ARRAY = "a JSON array"
    JSON_LINES = "JSON Lines"
    FASTTEXT = "fastText"
    EXCEL = "Excel"
    PARQUET = "Parquet"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Return the usual suffixes of file names, without .gz."""
        return SUFFIXES[self.value]

    @property
    def has_names(self) -> bool:
        """Return whether the format itself names the columns, without a header line."""
        return self not in (Format.DELIMITED, Format.EXCEL)


def detect_format(path: Path, encoding: str) -> Format:
    """Return the format of a table, plain or .gz.

    Raises UserError: not a regular file, another format (a zip archive), or as `TextLines` for a text file.
    """
    check_file(path)
    binary = _binary_format(path)
    if binary is not None:
        return binary
    return _text_format(next(TextLines(path, encoding).blocks("replace"), ""))


def _text_format(start: str) -> Format:
    """Return the format of a text by its beginning."""
    first = start.lstrip()[:1000]
    if JSON_ARRAY.match(first):
        return Format.JSON_ARRAY
    if JSON_OBJECT.match(first):
        return Format.JSON_LINES
    lines = [line for line in start.split("\n", FASTTEXT_LINES)[:FASTTEXT_LINES] if line.strip()]
    if 2 * sum(line.startswith(fasttext.PREFIX) for line in lines) > len(lines):
        return Format.FASTTEXT
    return Format.DELIMITED


def check_file(path: Path) -> None:
    """Raise UserError for a path that is no regular file."""
    if not path.is_file():
        what = "a folder, not a table" if path.is_dir() else "not a file" if path.exists() else "no such file"
        raise UserError(f"{path}: {what}: give the path of a table")


def is_named_format(path: Path) -> bool:
    """Return whether a file is a table by its first bytes: Excel, Parquet, JSON or fastText. False if unreadable."""
    try:
        check_file(path)
        if _binary_format(path) is not None:
            return True
        start = _first_bytes(path, START)
    except (UserError, OSError, *PACKED):
        return False
    text = start.removeprefix(codecs.BOM_UTF8).decode("latin-1")
    found = Format.DELIMITED if "\0" in text else _text_format(text)
    return found is not Format.DELIMITED and (found is not Format.JSON_LINES or _is_json(text))


def _is_json(text: str) -> bool:
    """Return whether the first line is JSON; a line of text may begin with a brace. A long line is not checked."""
    first, end, _ = text.strip().partition("\n")
    try:
        json.loads(first)
    except ValueError:
        return not end and len(text) == START
    return True


def _binary_format(path: Path) -> Format | None:
    try:
        start, inner = _first_bytes(path, 8, packed=True), _first_bytes(path, 8)
    except PACKED:
        return None  # its reader names the damage
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}): check its permissions") from None
    if start != inner and inner.startswith((*ZIP, b"PAR1", OLE)):
        raise UserError(f"{path}: an Excel, zip or Parquet file within .gz: unpack it with gunzip")
    if start.startswith(b"PAR1"):
        return Format.PARQUET
    if start.startswith(OLE):
        return Format.EXCEL
    if not start.startswith(ZIP):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"{path}: a damaged zip archive ({error}): copy or download it again") from None
    if any(name.startswith("xl/workbook.") for name in names) or "content.xml" in names:
        return Format.EXCEL
    raise UserError(f"{path}: a zip archive, not a table: unpack it, and give the file within")


def _first_bytes(path: Path, count: int, packed: bool = False) -> bytes:
    """Return the beginning of a file, unpacked unless `packed`."""
    with path.open("rb") as raw:
        if not packed and is_packed(raw):
            with gzip.open(raw) as file:
                return file.read(count)
        return raw.read(count)
