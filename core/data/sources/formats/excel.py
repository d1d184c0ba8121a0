"""Excel workbooks: the first sheet, read by calamine in a process of its own (`excel_worker.py`)."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from core.data.sources.formats.rows import missing_package
from core.errors import UserError, note_once

UNPACKED = 1_000_000_000
"""Maximum bytes that the parts of a workbook may unpack to."""

MEMORY = 2_000_000_000
"""Maximum bytes of address space of the process that reads a workbook."""

WORKER = Path(__file__).with_name("excel_worker.py")


def read_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the numbers, from 1, and cells of the rows of the first sheet; blank rows are skipped.

    A Note names the sheets that are not read. Raises UserError: python-calamine is not installed, the file is damaged,
    has a password or needs too much memory.
    """
    if importlib.util.find_spec("python_calamine") is None:
        raise missing_package(path, "python-calamine", "excel")
    _check_size(path)
    command = [sys.executable, str(WORKER), str(path.absolute()), str(MEMORY)]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
    ) as process:
        try:
            for number, line in enumerate(process.stdout or ()):
                found = json.loads(line)
                if isinstance(found, dict):
                    raise UserError(f"{path}: not a valid Excel file ({found['error']}): save it as .csv (UTF-8)")
                if number == 0:
                    _note_sheets(path, found)
                elif any(found):
                    yield number, found
            if process.wait():
                raise UserError(
                    f"{path}: not a valid Excel file, or it needs more than {MEMORY // 10**9} GB of memory, as with a"
                    f" cell far from the others: save it as .csv (UTF-8)"
                )
        finally:
            process.kill()


def _check_size(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        size = sum(part.file_size for part in archive.infolist())
    if size > UNPACKED:
        raise UserError(
            f"{path}: unpacks to {size:,} bytes, expected at most {UNPACKED:,}: save it as .csv (UTF-8), or divide it"
        )


def _note_sheets(path: Path, names: list[str]) -> None:
    if len(names) > 1:
        rest = ", ".join(map(repr, names[1:6])) + (", ..." if len(names) > 6 else "")
        note_once(f"{path}: read the first sheet, {names[0]!r}, without {rest}", path.absolute())
