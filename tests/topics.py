"""Made-up texts with any number of topics: each of its topics gives a text some of its words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WORDS = {
    "sports": ("team", "goal", "coach", "match", "league", "stadium", "striker", "trophy"),
    "politics": ("vote", "party", "minister", "senate", "law", "election", "campaign", "treaty"),
    "economy": ("market", "shares", "bank", "trade", "profit", "budget", "tax", "wages"),
    "weather": ("rain", "storm", "cloud", "wind", "snow", "flood", "sunny", "frost"),
    "travel": ("hotel", "flight", "beach", "visa", "tourist", "luggage", "airport", "museum"),
}
FILLERS = ("the", "a", "of", "and", "was", "said", "it", "on", "today", "new", "people", "after", "city", "week")
SHARES = {"sports": 0.35, "politics": 0.4, "economy": 0.45, "weather": 0.2, "travel": 0.1}
"""Shares of the texts with a topic; `economy` comes more often with `politics`."""
TELLING = 0.4
"""Share of the words that tell a topic; one in ten of these is of a topic that the text does not have."""


@dataclass(frozen=True)
class Topics:
    """Texts and the topics of each, sorted."""

    texts: list[str]
    labels: list[list[str]]


def make_topics(rng: np.random.Generator, rows: int, longest: int = 30) -> Topics:
    """Draw texts of one word to `longest` ones."""
    names, texts, labels = list(WORDS), [], []
    for _ in range(rows):
        own = {name for name in names if rng.random() < SHARES[name]}
        if "politics" in own and rng.random() < 0.5:
            own.add("economy")
        words = []
        for _ in range(rng.integers(1, longest + 1)):
            if own and rng.random() < TELLING:
                topic = rng.choice(sorted(own)) if rng.random() < 0.9 else rng.choice(names)
                words.append(str(rng.choice(WORDS[topic])))
            else:
                words.append(str(rng.choice(FILLERS)))
        texts.append(" ".join(words))
        labels.append(sorted(own))
    return Topics(texts, labels)


def rows_of(topics: Topics, separator: str = "|") -> list[tuple[str, str]]:
    """Return the rows of a table, with the labels joined."""
    return [(text, separator.join(own)) for text, own in zip(topics.texts, topics.labels, strict=True)]
