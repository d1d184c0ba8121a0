"""Parse `--set FIELD=VALUE`, which sets any field of a spec."""

from __future__ import annotations

import json
from collections.abc import Sequence

from core.errors import UserError


def assigned(assignments: Sequence[str], example: str = "training.schedule.warmup_share=0.2") -> dict[str, object]:
    """Return the fields and values of `--set FIELD=VALUE`. Raises UserError for another form."""
    changes: dict[str, object] = {}
    for assignment in assignments:
        field, separator, text = assignment.partition("=")
        if not separator:
            raise UserError(f"--set {assignment}: expected FIELD=VALUE, e.g. {example}")
        try:
            changes[field] = json.loads(text)
        except json.JSONDecodeError:
            changes[field] = text
        except (ValueError, RecursionError):
            raise UserError(f"--set {field}: got a value of {len(text):,} characters, expected a shorter one") from None
    return changes
