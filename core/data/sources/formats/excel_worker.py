"""Print the rows of the first sheet of a workbook as JSON lines: a program that `excel.py` runs.

It runs in a process of its own, with limited memory, because calamine reserves what a file claims, and a failed
reservation ends the process. A file of 1.6 kB can claim 96 GB.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import sys


def main(path: str, limit: int) -> None:
    """Print the names of the sheets, then a list of cells per row; an object with `error` if the file is invalid."""
    with contextlib.suppress(ImportError):  # Windows has no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import python_calamine

    try:
        workbook = python_calamine.load_workbook(path)
        names = [
            sheet.name
            for sheet in workbook.sheets_metadata
            if sheet.typ == python_calamine.SheetTypeEnum.WorkSheet
            and sheet.visible == python_calamine.SheetVisibleEnum.Visible
        ]
        names = names or workbook.sheet_names
        print(json.dumps(names))
        for cells in workbook.get_sheet_by_name(names[0]).iter_rows() if names else ():
            print(json.dumps([text_of(cell) for cell in cells]))
    except python_calamine.PasswordError:
        print(json.dumps({"error": "it has a password"}))
    except (python_calamine.CalamineError, OSError, MemoryError) as error:
        print(json.dumps({"error": " ".join(str(error).split())[:200] or type(error).__name__}))


def text_of(value: object) -> str:
    """Return a cell as text. Whole numbers have no decimals, as in the program that shows the sheet."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return "" if value is None else str(value)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
