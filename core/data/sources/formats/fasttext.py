"""Files of fastText: one text per line, after its label, as in `__label__good A fine film.`"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from core.data.sources.formats.rows import Header, Row
from core.data.text_files import TextLines
from core.errors import UserError

PREFIX = "__label__"
NAMES = ("label", "text")
"""Names of the columns, which the files do not contain."""

LABELS = re.compile(rf"(?:{PREFIX}\S*(?:\s+|$))*")


def read_rows(path: Path, lines: TextLines, columns: list[str], listed: Collection[str] = ()) -> Iterator[Row]:
    """Yield the rows; the label of a line without one is "". If `label` is `listed`, it is a JSON list of all labels.

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
        names = [label[len(PREFIX) :] for label in labels]
        if NAMES[0] in listed:
            yield header.row(number, lines.number, [json.dumps(names, ensure_ascii=False), line[end:]])
            continue
        if len(labels) > 1:
            raise UserError(
                f"{path}: row {number} (line {lines.number}): got {len(labels)} labels ({' '.join(labels[:3])}),"
                f" expected one: keep one"
            )
        yield header.row(number, lines.number, [names[0] if names else "", line[end:]])
