"""The certificate of a conversion: what was compared, with the figures, as JSON and as a page."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.files import write_json_atomic, write_text_atomic
from core.parity.findings import Finding
from core.parity.layers import Sides
from core.report.certificate import page
from core.weights.convert import Port
from core.weights.witness import Fit
from core.weights.witness_logits import TOLERANCE, Witness

FORMAT = 1


@dataclass(frozen=True)
class Proof:
    """All that a certificate records.

    `fits` are sorted, the only one within the tolerance first; `files` by role, `seed` of the random input.
    """

    port: Port
    fits: list[Fit]
    witness: Witness
    findings: list[Finding]
    files: dict[str, Path]
    sides: Sides
    seed: int


def claim(proof: Proof) -> str:
    """Return the claim in one line."""
    return f"the same model: {len(proof.witness.ids)} texts, largest difference {proof.fits[0].difference:.1e}"


def record_of(proof: Proof) -> dict:
    """Return the certificate as JSON values."""
    best, witness = proof.fits[0], proof.witness
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    for name, side in proof.sides.items():
        versions[name] = side.versions()[name]
    return {
        "format": FORMAT,
        "claim": claim(proof),
        "files": {role: {"path": str(path), "sha256": _sha256(path)} for role, path in proof.files.items()},
        "versions": versions,
        "model": proof.port.model.describe(),
        "choices": best.candidate.open,
        "figures": {
            "texts": len(witness.ids),
            "largest difference": best.difference,
            "relative difference": best.relative,
            "tolerance": TOLERANCE[witness.precision],
            "precision of the witness": witness.precision,
            "candidates": len(proof.fits),
            "relative difference of the second best": proof.fits[1].relative if len(proof.fits) > 1 else None,
        },
        "seed": proof.seed,
        "mapping": [
            {"file": row.source, "neutral": row.neutral, "stored": list(row.source_shape), "shape": list(row.shape)}
            for row in proof.port.rows
        ],
        "left out": proof.port.unplaced,
        "findings": [
            {
                "rung": finding.rung,
                "compared": finding.compared,
                "dtype": finding.dtype,
                "quantity": finding.quantity,
                "value": finding.value,
                "limit": finding.limit,
            }
            for finding in proof.findings
        ],
    }


def names_for(out: Path) -> tuple[Path, Path]:
    """Return the names of the certificate of `out`: JSON and page."""
    return out.with_name(f"{out.name}.certificate.json"), out.with_name(f"{out.name}.certificate.html")


def write(proof: Proof, out: Path) -> Path:
    """Write the certificate next to `out`. Return the page's name."""
    data, html = names_for(out)
    record = record_of(proof)
    write_json_atomic(data, record)
    write_text_atomic(html, page(record))
    return html


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
