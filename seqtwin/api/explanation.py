"""The explanation of one prediction: the words of a text with their effects."""

from __future__ import annotations

from core.report.html import render
from tasks.run.explain import OPPOSES, SUPPORTS, Explained


class Explanation:
    """The prediction for a text, and the effect of each of its words on it.

    `prediction` is the predicted class, `probability` its probability, and `probabilities` that of every class.

    `words` are pairs of a word and its effect: by how much the log-odds of the prediction decrease without the word.
    For a linear model of n-grams it is the word's share of a sum. Words in [brackets] are out of vocabulary.

    `notes` are further lines, such as the strongest n-grams. A notebook shows the words in color.
    """

    def __init__(self, explained: Explained, classes: list[str]) -> None:
        self._explained = explained
        self.prediction: str = explained.prediction
        self.probability: float = explained.probability
        shares = explained.explanation.probabilities.tolist()
        self.probabilities: dict[str, float] = dict(zip(classes, shares, strict=True))
        self.words: list[tuple[str, float]] = [(word, effect) for word, effect, _ in explained.words]
        self.notes: list[str] = list(explained.notes)

    def strongest(self, count: int = 6) -> list[tuple[str, float]]:
        """Return the `count` words with the largest effects, for or against the prediction."""
        places = self._explained.explanation.strongest(count)
        return [self.words[place] for place in places]

    def __repr__(self) -> str:
        words = ", ".join(f"{word} {effect:+.2f}" for word, effect in self.strongest())
        return f"{self.prediction} {self.probability:.4f} ({self._explained.quantity}: {words})"

    def _repr_html_(self) -> str:
        return render("explanation.html", text=self._explained, supports=SUPPORTS, opposes=OPPOSES)
