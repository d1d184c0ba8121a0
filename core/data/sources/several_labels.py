"""Tables with several labels per text, told apart from those with one by the cells of their label column."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from core.data.sources.formats.detect import Format, detect_format
from core.data.sources.table import SAMPLE, read_rows
from core.files import user_path
from core.label_sets import SEPARATOR, is_list, labels_of
from core.spec.data import Table

NAME = "labels"
"""Name of a column whose cells have several labels if any has a separator."""


def reason_for_several(data: Table) -> str:
    """Return why the texts of a table have several labels each, "" if they have one, by its first rows.

    They have if most cells are lists, or if cells have a `|` and a label between occurs in another cell too. Raises
    UserError as reading does.
    """
    path, column = user_path(data.source), data.label_column
    rows = read_rows(path, [*data.text_columns, column], data.encoding, names=data.columns, listed=[column])
    cells = [row.cells[-1] for row in islice(rows, SAMPLE)]
    lists = [cell for cell in cells if is_list(cell) and _is_readable(cell)]
    if detect_format(path, data.encoding) is Format.FASTTEXT:  # whose cells are all read as lists
        most = max((len(labels_of(cell)) for cell in lists), default=0)
        return f"up to {most} labels per line" if most > 1 else ""
    if 2 * len(lists) > sum(map(bool, cells)):
        return f"lists in column {column}"
    joined = {cell for cell in cells if SEPARATOR in cell}
    shared = Counter(label for cell in set(cells) - {""} for label in cell.split(SEPARATOR))
    if joined and (column == NAME or any(shared[label] > 1 for cell in joined for label in cell.split(SEPARATOR))):
        return f"{SEPARATOR} in column {column}"
    return ""


def _is_readable(cell: str) -> bool:
    try:
        labels_of(cell)
    except ValueError:
        return False
    return True
