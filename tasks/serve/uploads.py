"""Predict for an uploaded file: the same tables and lines as `predict --file`, uncompressed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from core.data.sources.formats.detect import OLE, ZIP
from core.data.text_files import GZIP
from core.errors import UserError, forget_notes
from tasks.serve.served_run import ServedRun

PACKED = (GZIP, *ZIP, OLE, b"PAR1")
"""First bytes of compressed formats: a few bytes of them may unpack to gigabytes."""
OUT = "predictions.csv"
LONGEST_NAME = 80


def predicted_file(served: ServedRun, file: UploadFile, fields: dict[str, str], engine: Any) -> bytes:
    """Return the CSV file of predictions for an uploaded file. Blocks; call it in a thread.

    Raises HTTPException: 413 for too many rows, 415 for a compressed file, 422 for what `predict --file` refuses.
    """
    start = file.file.read(8)
    if start.startswith(PACKED):
        raise HTTPException(415, "a compressed file, workbook or Parquet file: save it as CSV (UTF-8)")
    file.file.seek(0)
    with TemporaryDirectory(prefix="seqtwin-") as folder:
        path, out = Path(folder, safe_name(file.filename or "")), Path(folder, "out", OUT)
        out.parent.mkdir()
        with path.open("wb") as copy:
            shutil.copyfileobj(file.file, copy)
        try:
            served.write_predictions(path, out, fields, engine)
        except UserError as error:
            message = re.sub(r"`(?:\w+\.)*(\w+)`", r"\1", str(error).replace(f"{folder}/", ""))
            raise HTTPException(413 if "more than" in message else 422, message) from None
        finally:
            forget_notes()  # of files that are gone
        return out.read_bytes()


def safe_name(name: str) -> str:
    """Return the last part of a file's name, with letters, digits, `.`, `-` and `_` only."""
    last = re.sub(r"[^\w.-]", "_", name.replace("\\", "/").rpartition("/")[2])
    return last[-LONGEST_NAME:].lstrip(".") or "upload.csv"
