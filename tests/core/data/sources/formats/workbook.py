"""Write small .xlsx files by hand."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"


def cell(place: str, value: object) -> str:
    """Return the XML of a cell: text, a number, or a truth value."""
    if isinstance(value, bool):
        return f'<c r="{place}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, str):
        text = escape(value).replace("\r", "&#13;")
        return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
    return f'<c r="{place}"><v>{value}</v></c>'


def row(number: int, cells: Sequence[object]) -> str:
    """Return the XML of a row; None is a cell that is not there."""
    inner = (cell(f"{chr(65 + place)}{number}", value) for place, value in enumerate(cells) if value is not None)
    return f'<row r="{number}">{"".join(inner)}</row>'


def write_workbook(path: Path, rows: str, sheets: Sequence[str] = ("Sheet1",), strings: str = "") -> Path:
    """Write a workbook whose first sheet has these rows of XML; `strings` is the XML of its shared strings."""

    def relation(number: int, kind: str, target: str) -> str:
        return f'<Relationship Id="r{number}" Type="{OFFICE}/{kind}" Target="{target}"/>'

    named = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, name in enumerate(sheets, 1))
    parts = [relation(n, "worksheet", f"worksheets/sheet{n}.xml") for n in range(1, len(sheets) + 1)]
    parts.append(relation(99, "sharedStrings", "sharedStrings.xml"))
    defaults = '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", f'<Types xmlns="{TYPES}">{defaults}</Types>')
        workbook = relation(1, "officeDocument", "xl/workbook.xml")
        archive.writestr("_rels/.rels", f'<Relationships xmlns="{PACKAGE}">{workbook}</Relationships>')
        archive.writestr(
            "xl/workbook.xml", f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>{named}</sheets></workbook>'
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{PACKAGE}">{"".join(parts)}</Relationships>'
        )
        for number in range(1, len(sheets) + 1):
            data = rows if number == 1 else row(1, ["other"])
            archive.writestr(
                f"xl/worksheets/sheet{number}.xml",
                f'<worksheet xmlns="{MAIN}"><dimension ref="A1:XFD1048576"/><sheetData>{data}</sheetData></worksheet>',
            )
        archive.writestr("xl/sharedStrings.xml", strings or f'<sst xmlns="{MAIN}"/>')
    return path
