"""Explanations of predictions by the effects of words, colored in the terminal and on a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.style import Style
from rich.text import Text

from core.analysis.occlusion import Explanation
from core.data.encode import EncodedText
from core.errors import UserError
from core.files import write_text_atomic
from core.report.html import render
from core.strings import CONTROL
from tasks.cli.console import console

SUPPORTS, OPPOSES = (0, 114, 178), (213, 94, 0)
"""Blue and vermilion of Okabe and Ito's palette, distinguishable with color blindness."""
NAMED = 6
"""Number of words listed with their effects."""
FAINT = 0.08
"""Effects below this share of the largest are not colored."""


@dataclass(frozen=True)
class Explained:
    """A text with its number, prediction and explanation."""

    encoded: EncodedText
    explanation: Explanation
    prediction: str
    """Name of the predicted class."""
    number: int = 1
    notes: tuple[str, ...] = ()
    """Further lines, such as the strongest n-grams."""
    quantity: str = "log-odds"
    """What the effects are differences or parts of."""
    exact: bool = False
    """True for parts of the quantity, False for its decreases without a word."""

    @property
    def shares(self) -> list[float]:
        """Effects relative to the largest, [L] from -1 to 1."""
        largest = max(abs(effect) for effect in self.explanation.effects) or 1.0
        return [float(effect) / largest for effect in self.explanation.effects]

    @property
    def words(self) -> list[tuple[str, float, float]]:
        """Words with their effects, absolute and relative to the largest."""
        return list(zip(self.encoded.tokens, map(float, self.explanation.effects), self.shares, strict=True))

    @property
    def probability(self) -> float:
        return float(self.explanation.probabilities[self.explanation.predicted])

    @property
    def listed(self) -> list[str]:
        """The strongest words with their effects."""
        tokens, effects = self.encoded.tokens, self.explanation.effects
        return [f"{tokens[place]} {effects[place]:+.2f}" for place in self.explanation.strongest(NAMED)]


@dataclass(frozen=True)
class Unexplained:
    """A text without tokens, and thus without a prediction."""

    number: int
    text: str


def show(explained: Explained) -> None:
    """Print the encoded words, colored by effect, and the strongest words with their effects."""
    line = Text("  ")
    for token, _, share in explained.words:
        line.append(CONTROL.sub("\ufffd", token), style=_style(share))
        line.append(" ")
    if explained.encoded.cut:
        line.append(f"({explained.encoded.cut} more truncated)", style="dim")
    console.print(line)
    words = f"{explained.quantity} of {explained.prediction}: {', '.join(explained.listed)}"
    for line in (words, *explained.notes):
        console.print(Text(f"  {CONTROL.sub(chr(0xFFFD), line)}", style="dim"))


def _style(share: float) -> Style:
    if abs(share) < FAINT:
        return Style()
    strength = abs(share)
    background = ",".join(str(round(255 - (255 - part) * strength)) for part in (SUPPORTS if share > 0 else OPPOSES))
    return Style(color="white" if strength > 0.6 else "black", bgcolor=f"rgb({background})")


def check_page(path: Path, flag: str = "--html") -> None:
    """Raise UserError if the file exists, or its folder does not."""
    if path.exists():
        raise UserError(f"{flag} {path}: exists; choose another name")
    if not path.absolute().parent.is_dir():
        raise UserError(f"{flag} {path}: there is no folder {path.parent}; create it, or choose another name")


def write_page(path: Path, run: str, computed_by: str, found: list[Explained | Unexplained]) -> None:
    """Write one page with all texts; it needs no network or scripts, and supports dark mode."""
    title = f"Words that influenced the prediction: {Path(run).name}"
    colors = {"supports": SUPPORTS, "opposes": OPPOSES}
    exact = any(isinstance(own, Explained) and own.exact for own in found)
    content = render("explanations.html", title=title, computed_by=computed_by, texts=found, exact=exact, **colors)
    write_text_atomic(path, content)
