"""Count the texts of a prediction, and those without tokens."""

from __future__ import annotations

from dataclasses import dataclass, field

SHOWN = 5
"""Number of texts without tokens whose numbers are printed."""


@dataclass
class Counts:
    """Numbers of texts: all, those without tokens, and the first of these."""

    texts: int = 0
    empty: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, number: int, empty: bool) -> None:
        self.texts += 1
        self.empty += empty
        if empty and len(self.first) < SHOWN:
            self.first.append(number)

    def describe(self, unit: str) -> str:
        """Return which texts have no prediction."""
        numbers = ", ".join(map(str, self.first)) + (", ..." if self.empty > len(self.first) else "")
        which = f"{unit}{'s' if self.empty > 1 else ''} {numbers}"
        return f"no prediction for {self.empty:,} of {self.texts:,} texts: no tokens ({which})"
