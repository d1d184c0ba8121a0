"""The largest differences that the tests saw on the ladder: the proof in numbers, not only in dots."""

from __future__ import annotations

from core.parity.findings import Finding

PARITY_SPEC: dict[tuple[str, str], float] = {}
"""By (rung and what was compared, dtype); printed at the end of the tests."""


def hold(findings: list[Finding]) -> None:
    """Every finding must pass; the largest of each kind is kept for the report."""
    assert findings
    for finding in findings:
        one, _, other = finding.compared.partition(" ~ ")
        # Of six sides there are many pairs: those without the judge stand together.
        compared = "implementations ~ each other" if "/" in one and "/" in other else finding.compared
        key = (f"{finding.rung} {KINDS[finding.rung]}, {compared}", finding.dtype)
        PARITY_SPEC[key] = max(PARITY_SPEC.get(key, 0.0), finding.value)
        assert finding.passed, finding


KINDS = {
    0: "examples and their definition",
    1: "outputs",
    2: "gradients (relative)",
    3: "loss, state, parameters in training",
    4: "loss and parameters through changes of framework",
    5: "share of predictions that differ",
}
