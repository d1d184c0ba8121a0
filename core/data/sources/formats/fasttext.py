"""Files of fastText: one text per line, after its label, as in `__label__good A fine film.`"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from core.data.sources.formats.rows import Header, Row
from core.data.text_files import TextLines
from core.errors import UserError

PREFIX = "__label__"
NAMES = ("label", "text")
"""Names of the columns, which the files do not contain."""

LABELS = re.compile(rf"(?:{PREFIX}\S*(?:\s+|$))*")


def read_rows(path: Path, lines: TextLines, columns: list[str]) -> Iterator[Row]:
    """Yield the rows; the label of a line without one is "".

    Raises UserError for a line with several labels, and like `Header` and `TextLines`.
    """
    header = Header(path, NAMES, columns, source="a fastText file")
    number = 0
    for line in lines:
        if not line.strip():
            continue
        number += 1
        start = LABELS.match(line)
        end = start.end() if start else 0
        labels = line[:end].split()
        if len(labels) > 1:
            raise UserError(
                f"{path}: row {number} (line {lines.number}): got {len(labels)} labels ({' '.join(labels[:3])}),"
                f" expected one: keep one"
            )
        yield header.row(number, lines.number, [labels[0][len(PREFIX) :] if labels else "", line[end:]])
