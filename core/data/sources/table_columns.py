"""Columns of a table that a user did not name: inferred for training, those of the run for prediction."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from core.data.download import Progress, no_progress
from core.data.sources.formats import parquet
from core.data.sources.formats.detect import Format
from core.data.sources.formats.rows import shown_names
from core.data.sources.header import LABEL_NAMES, TEXT_NAMES, Inferred, infer_text_columns, is_header, usual_name
from core.data.sources.table import Beginning, Row, has_suffix, join_texts, peek, read_rows
from core.errors import UserError
from core.files import user_path
from core.spec.data import Table


def infer_columns(data: Table, given: Collection[str]) -> tuple[str, list[Inferred]]:
    """Return the format of `data.source`, and the text and label columns that are not the ones of `data`.

    The format is "" if the name of the file tells it.

    The fields of `given` keep their values, except that a text column `a,b` is divided if there is none of that name.
    Without usual names the fields keep their defaults, and reading names the columns that exist. Raises UserError:
    `data.columns` for a format with named columns, or as reading does.
    """
    path = user_path(data.source)

    def suits(names: Sequence[str]) -> bool:
        text = _text_column(data, names, given)
        wanted = {*((text,) if isinstance(text, str) else text), _label_column(data, names, given)}
        return wanted <= set(names)

    beginning = peek(path, data.encoding, suits, data.columns)
    if data.columns is not None and beginning.format.has_names:
        raise UserError(
            f"{path}: {beginning.format.value} names its columns ({shown_names(beginning.names)}): omit `data.columns`"
        )
    names = beginning.names if data.columns is None else list(data.columns)
    found = [
        Inferred("text_column", _text_column(data, names, given), _reason(names)),
        Inferred("label_column", _label_column(data, names, given), _reason(names)),
    ]
    kind = beginning.format
    told = kind is Format.DELIMITED or has_suffix(path, kind)
    return "" if told else kind.value, [own for own in found if own.value != getattr(data, own.field)]


def read_texts(
    path: Path, data: object, column: str | None, encoding: str | None, progress: Progress = no_progress
) -> Iterator[tuple[Row, str]]:
    """Yield the rows, with the values of all columns, and the texts of a table to predict for.

    `column` and `encoding` default to those of the run's `data`. A table without a header line has the columns of
    `data`, or its text columns alone. Raises UserError like `read_rows`.
    """
    table = data if isinstance(data, Table) else Table(source=str(path))
    encoding = encoding or table.encoding
    wanted = table.text_columns if column is None else (column,)
    beginning = peek(path, encoding, set(wanted).issubset)
    if column is not None:
        wanted = _divided(column, beginning.names)
    names = None if set(wanted) <= set(beginning.names) else _names_without_header(beginning, table)
    missing = [name for name in wanted if name not in (names or beginning.names)]
    if missing and beginning.names:
        there = f"{'columns' if beginning.format.has_names else 'first row'}: {shown_names(beginning.names)}"
        header = "" if beginning.format.has_names else ", or add a header line"
        raise UserError(f"{path}: no column {missing[0]!r} ({there}): set `data.text_column`{header}")
    if beginning.format is Format.PARQUET:  # whose other columns are read only here
        rows = parquet.read_rows(path, list(wanted), progress, whole=True)
    else:
        rows = read_rows(path, wanted, encoding, progress, names)
    for row in rows:
        yield row, join_texts(row.cells)


def _names_without_header(beginning: Beginning, table: Table) -> tuple[str, ...] | None:
    """Return the names of all columns of a table without a header line, None if it must have one."""
    if table.columns is None or beginning.format.has_names or is_header(beginning.names):
        return None
    unlabeled = tuple(name for name in table.columns if name != table.label_column)
    return {len(names): names for names in (table.text_columns, unlabeled, table.columns)}.get(len(beginning.names))


def _divided(column: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names in a column `a,b` that is none of `names`, if all of them are."""
    parts = tuple(part.strip() for part in column.split(","))
    return parts if column not in names and len(set(parts)) == len(parts) and set(parts) <= set(names) else (column,)


def _reason(names: Sequence[str]) -> str:
    return f"columns: {shown_names(names)}"


def _text_column(data: Table, names: Sequence[str], given: Collection[str]) -> str | tuple[str, ...]:
    column = data.text_column
    if "text_column" in given:
        return column if not isinstance(column, str) else _one_or_several(_divided(column, names))
    label = data.label_column if "label_column" in given else usual_name(names, LABEL_NAMES)
    without = () if label is None else (label,)
    if data.columns is not None:
        return _one_or_several(infer_text_columns(names, without) or data.text_columns)
    return usual_name(names, TEXT_NAMES, without) or column


def _one_or_several(names: tuple[str, ...]) -> str | tuple[str, ...]:
    first, *more = names
    return names if more else first


def _label_column(data: Table, names: Sequence[str], given: Collection[str]) -> str:
    if "label_column" in given:
        return data.label_column
    return usual_name(names, LABEL_NAMES, data.text_columns if "text_column" in given else ()) or data.label_column
