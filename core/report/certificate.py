"""Content of the page that certifies a conversion of weights; its layout is templates/certificate.html."""

from __future__ import annotations

from core.report.figures import NONE
from core.report.html import render


def page(record: dict) -> str:
    """Return the HTML of a certificate (`tasks/port/certificate.py`)."""
    figures = {name: [_figure(value)] for name, value in {**record["figures"], "seed": record["seed"]}.items()}
    mapping = [
        (
            row["file"] or "(zeros)",
            {"in seqtwin": row["neutral"], "stored": str(row["stored"]), "shape": str(row["shape"])},
        )
        for row in record["mapping"]
    ]
    findings = [
        (
            f"rung {row['rung']}, {row['quantity']}",
            {
                "compared": row["compared"],
                "dtype": row["dtype"],
                "difference": f"{row['value']:.1e}",
                "limit": NONE if row["limit"] is None else f"{row['limit']:.0e}",
            },
        )
        for row in record["findings"]
    ]
    return render(
        "certificate.html",
        title="Certificate of a conversion",
        lead=record["claim"],
        notes=[f"left out: {name} ({what})" for name, what in record["left out"].items()],
        files=[(role, {"file": file["path"], "SHA-256": file["sha256"]}) for role, file in record["files"].items()],
        choices={"model": [record["model"]], **{name: [value] for name, value in record["choices"].items()}},
        figures=figures,
        mapping=mapping,
        findings=findings,
        versions={name: [value] for name, value in record["versions"].items()},
    )


def _figure(value: object) -> str:
    if value is None:
        return NONE
    return f"{value:.1e}" if isinstance(value, float) else str(value)
