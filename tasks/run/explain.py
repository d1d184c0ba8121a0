"""Explanations of predictions by the effects of words, colored in the terminal and on a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.style import Style
from rich.text import Text

from core.analysis.marked_text import MarkedText, Piece
from core.analysis.occlusion import Explanation
from core.errors import UserError
from core.files import write_text_atomic
from core.report.html import render
from core.strings import middle, one_line
from tasks.cli.console import console

SUPPORTS, OPPOSES = (0, 114, 178), (213, 94, 0)
"""Blue and vermilion of Okabe and Ito's palette, distinguishable with color blindness."""
NAMED = 6
"""Number of words listed with their effects."""
FAINT = 0.08
"""Effects below this share of the largest are not colored."""
UNREAD = 80
"""Maximum number of characters of a section that the model does not read, in the terminal."""


@dataclass(frozen=True)
class Explained:
    """A text with its number, prediction and explanation."""

    marked: MarkedText
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
    unread: str = "truncated"
    """Why the model does not read some words."""

    @property
    def pieces(self) -> list[Piece]:
        """The user's own text in pieces."""
        return self.marked.pieces(self.explanation.effects)

    @property
    def probability(self) -> float:
        return float(self.explanation.probabilities[self.explanation.predicted])

    @property
    def words(self) -> list[tuple[str, float, float]]:
        """The words [L] that the model reads, out-of-vocabulary ones in brackets: effect, and share of the largest."""
        effects = [float(effect) for effect in self.explanation.effects]
        largest = max(map(abs, effects), default=0.0) or 1.0
        named = map(_bracketed, self.marked.words, self.marked.unknown)
        return [(word, effect, effect / largest) for word, effect in zip(named, effects, strict=True)]

    @property
    def listed(self) -> list[str]:
        """The strongest words with their effects."""
        return [f"{_bracketed(word, unknown)} {effect:+.2f}" for word, unknown, effect in self.strongest]

    @property
    def strongest(self) -> list[tuple[str, bool, float]]:
        """The strongest words: as written, whether out of vocabulary, and effect."""
        words, unknown, effects = self.marked.words, self.marked.unknown, self.explanation.effects
        return [
            (words[place], bool(unknown[place]), float(effects[place])) for place in self.explanation.strongest(NAMED)
        ]


@dataclass(frozen=True)
class Unexplained:
    """A text without tokens, and thus without a prediction."""

    number: int
    text: str


def show(explained: Explained) -> None:
    """Print the text, its words colored by effect, and the strongest words with their effects.

    Out-of-vocabulary words are in [brackets], and words that the model does not read are dimmed and counted.
    """
    line = Text("  ")
    for piece in explained.pieces:
        if piece.unread:
            shown = f"{middle(' '.join(piece.text.split()), UNREAD)} ({piece.unread:,} {explained.unread})"
            line.append(shown, style="dim")
        else:
            own = f"[{piece.text}]" if piece.unknown else piece.text
            line.append(own.replace("\n", "\n  "), style=_style(piece))
    console.print(line)
    for line in (f"{explained.quantity} of {explained.prediction}: {', '.join(explained.listed)}", *explained.notes):
        console.print(Text(f"  {one_line(line)}", style="dim"))


def _bracketed(word: str, unknown: bool) -> str:
    return f"[{word}]" if unknown else word


def _style(piece: Piece) -> Style:
    strength = abs(piece.share)
    if strength < FAINT:
        return Style(bold=piece.focus)
    nearest = SUPPORTS if piece.share > 0 else OPPOSES
    background = ",".join(str(round(255 - (255 - part) * strength)) for part in nearest)
    return Style(color="white" if strength > 0.6 else "black", bgcolor=f"rgb({background})", bold=piece.focus)


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
    explained = [own for own in found if isinstance(own, Explained)]
    kinds = {
        "exact": any(own.exact for own in explained),
        "unknown": any(own.marked.unknown.any() for own in explained),
        "unread": next((own.unread for own in explained if len(own.marked.places) < len(own.marked.tokens)), ""),
    }
    content = render("explanations.html", title=title, computed_by=computed_by, texts=found, **kinds, **colors)
    write_text_atomic(path, content)
