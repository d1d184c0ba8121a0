"""Random labeled texts, in which some words tell the label and the others tell nothing."""

from __future__ import annotations

import numpy as np

FILLERS = ("film", "plot", "the", "a", "was", "very", "it", "scene")
TELLING = {"good": ("fine", "loved", "great"), "bad": ("dull", "awful", "hated"), "odd": ("strange", "weird", "queer")}


def labeled_texts(rng: np.random.Generator, each: int, classes: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Return `each` texts of every class, of 1 to 15 words, in random order; the first of a class has one word."""
    rows = []
    for label in classes:
        for number in range(each):
            words = list(rng.choice(FILLERS, size=0 if number == 0 else rng.integers(1, 15)))
            words.insert(int(rng.integers(len(words) + 1)), str(rng.choice(TELLING[label])))
            rows.append((" ".join(words), label))
    order = rng.permutation(len(rows))
    return [rows[place][0] for place in order], [rows[place][1] for place in order]
