"""Showing which words moved an answer: coloured in the terminal, and as a page."""

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
from tasks.cli.console import console

SUPPORTS, OPPOSES = (0, 114, 178), (213, 94, 0)
"""Blue and vermilion of Okabe and Ito's palette, which colour-blind people can tell apart."""
NAMED = 6
"""Words listed with their numbers."""
FAINT = 0.08
"""Effects below this share of the largest stay uncoloured."""


@dataclass(frozen=True)
class Explained:
    """A text, what the model made of it, and why."""

    encoded: EncodedText
    explanation: Explanation
    answer: str
    """Name of the predicted class."""

    @property
    def shares(self) -> list[float]:
        """[L]: every effect over the largest, -1 to 1."""
        largest = max(abs(effect) for effect in self.explanation.effects) or 1.0
        return [float(effect) / largest for effect in self.explanation.effects]

    @property
    def words(self) -> list[tuple[str, float, float]]:
        """Each with its effect, and that over the largest."""
        return list(zip(self.encoded.tokens, map(float, self.explanation.effects), self.shares, strict=True))

    @property
    def probability(self) -> float:
        return float(self.explanation.probabilities[self.explanation.predicted])

    @property
    def listed(self) -> list[str]:
        """The strongest words with their effects."""
        tokens, effects = self.encoded.tokens, self.explanation.effects
        return [f"{tokens[place]} {effects[place]:+.2f}" for place in self.explanation.strongest(NAMED)]


def show(explained: Explained) -> None:
    """Two lines below the answer: the words as the model saw them, coloured, and the strongest with their numbers."""
    line = Text("  ")
    for token, _, share in explained.words:
        line.append(token, style=_style(share))
        line.append(" ")
    if explained.encoded.cut:
        line.append(f"({explained.encoded.cut} more truncated)", style="dim")
    console.print(line)
    console.print(Text(f"  log-odds of {explained.answer}: {', '.join(explained.listed)}", style="dim"))


def _style(share: float) -> Style:
    if abs(share) < FAINT:
        return Style()
    strength = abs(share)
    background = ",".join(str(round(255 - (255 - part) * strength)) for part in (SUPPORTS if share > 0 else OPPOSES))
    return Style(color="white" if strength > 0.6 else "black", bgcolor=f"rgb({background})")


def check_page(path: Path, flag: str = "--html") -> None:
    """Raises UserError for a file that would overwrite something, or has no folder to stand in."""
    if path.exists():
        raise UserError(f"{flag} {path}: exists; give another name")
    if not path.absolute().parent.is_dir():
        raise UserError(f"{flag} {path}: there is no folder {path.parent}; make it, or give another name")


def write_page(path: Path, run: str, computed_by: str, found: list[Explained]) -> None:
    """Write one page with every text; it needs no network and no script, and follows light and dark."""
    title = f"Words that influenced the prediction: {Path(run).name}"
    colors = {"supports": SUPPORTS, "opposes": OPPOSES}
    content = render("explanations.html", title=title, computed_by=computed_by, texts=found, **colors)
    write_text_atomic(path, content)
