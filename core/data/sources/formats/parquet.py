"""Parquet files, read in batches of rows by pyarrow."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.data.download import Progress, no_progress
from core.data.sources.formats.rows import Header, Row, cell_text, missing_package
from core.errors import UserError

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

BATCH = 1000
"""Rows per batch."""

STRINGS = ("string", "large_string", "binary", "large_binary")

UNPACKED = 1_000_000_000
"""Maximum bytes that a column of a row group may unpack to."""


def names_of(path: Path) -> list[str]:
    """Return the names of the columns. Raises UserError: pyarrow is not installed, or the file is damaged."""
    with _errors_of(path), _open(path) as file:
        return list(file.schema_arrow.names)


def read_rows(
    path: Path,
    columns: list[str],
    progress: Progress = no_progress,
    whole: bool = False,
    listed: Collection[str] = (),
) -> Iterator[Row]:
    """Yield the rows, with the values of all columns if `whole`. A missing cell is "", a whole number has no decimals.

    The columns `listed` may hold lists, which are written as JSON.

    Raises UserError like `names_of` and `Header`, and for a column that is too large or holds several values per row.
    """
    number = 0
    with _errors_of(path), _open(path) as file:
        names = file.schema_arrow.names
        Header(path, names, columns, source="the Parquet file")
        read = list(names) if whole else columns
        places = [read.index(column) for column in columns]
        _check_size(path, file, read)
        total = file.metadata.num_rows
        for batch in file.iter_batches(BATCH, columns=read):
            values = [_values(batch.column(batch.schema.get_field_index(column))) for column in read]
            for own in zip(*values, strict=True):
                number += 1
                where = f"{path}: row {number}"
                cells = [
                    cell_text(own[place], where, name, name in listed)
                    for place, name in zip(places, columns, strict=True)
                ]
                yield Row(number, cells, read, own)
            progress(f"reading {path.name}", number, total)


def _open(path: Path) -> ParquetFile:
    if importlib.util.find_spec("pyarrow") is None:
        raise missing_package(path, "pyarrow", "parquet")
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        names = [field.name for field in file.schema_arrow if str(field.type) in STRINGS]
    # A dictionary keeps a long value that many rows share in memory once.
    return ParquetFile(path, read_dictionary=names)


def _values(column: Any) -> list[object]:
    """Return the values of a column of a batch. Equal values of a dictionary are one object."""
    if not hasattr(column, "dictionary"):
        return [*map(_plain, column.to_pylist())]
    places = column.indices.to_pylist()
    known = {place: None if place is None else _plain(column.dictionary[place].as_py()) for place in set(places)}
    return [known[place] for place in places]


def _plain(value: object) -> object:
    if isinstance(value, float):
        return None if value != value else int(value) if value.is_integer() and abs(value) < 1e15 else value
    return value.decode("utf-8") if isinstance(value, bytes) else value


def _check_size(path: Path, file: ParquetFile, columns: list[str]) -> None:
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        for place in range(group.num_columns):
            column = group.column(place)
            if column.path_in_schema in columns and column.total_uncompressed_size > UNPACKED:
                raise UserError(
                    f"{path}: column {column.path_in_schema!r} unpacks to {column.total_uncompressed_size:,} bytes in"
                    f" one row group, expected at most {UNPACKED:,}: write smaller row groups"
                )


class _errors_of:
    """Turn pyarrow's errors into a UserError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _, error: BaseException | None, __) -> None:
        # pyarrow raises OSError, subclasses of ValueError, MemoryError and NotImplementedError.
        if isinstance(error, OSError | ValueError | MemoryError | NotImplementedError | RuntimeError):
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(f"{self.path}: not a valid Parquet file ({reason}): copy or write it again") from None
