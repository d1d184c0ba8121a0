"""Note texts whose words the model mostly does not know."""

from __future__ import annotations

from dataclasses import dataclass

from core.spec.text import Text

SHARE = 0.5
"""Least share of out-of-vocabulary tokens of a text that is noted."""
UNITS = {"characters": "characters", "letters": "characters"}
"""What the tokens of a tokenizer are called; those of others are words."""


@dataclass
class UnknownWords:
    """Counts the texts of which at least half of the tokens are out of vocabulary."""

    unit: str
    texts: int = 0
    mostly_unknown: int = 0

    @classmethod
    def of(cls, text: Text) -> UnknownWords:
        """Return the count of no texts, for those of a tokenizer."""
        return cls(UNITS.get(text.tokenizer, "words"))

    def add(self, unknown: int, tokens: int) -> str:
        """Count a text; return what to note about it alone, "" for nothing."""
        self.texts += 1
        if unknown < SHARE * tokens or not unknown:
            return ""
        self.mostly_unknown += 1
        unit = self.unit if tokens > 1 else self.unit.removesuffix("s")
        return f"{unknown:,} of {tokens:,} {unit} unknown (not in the run's vocabulary)"

    def describe(self) -> str:
        """Return how many texts are mostly unknown, "" if none is."""
        if not self.mostly_unknown:
            return ""
        which = f"{self.mostly_unknown:,} of {self.texts:,} texts"
        return f"{which}: half or more of the {self.unit} unknown (not in the run's vocabulary)"
