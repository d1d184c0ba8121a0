"""Small models and examples of word2vec for parity checks, with all that could go wrong in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from core.models.types import Arrays
from core.spec.words import IN, OUT, WordExperiment
from core.words.examples import Examples
from core.words.reference import initial_vectors

VOCAB = 12
"""Number of words: fewer than predictions, so that every table has rows that occur several times in a step."""
STEPS = (17, 1, 22)
"""Predictions of the steps."""
EXTREMES = (-1000.0, -100.0, -20.0, 20.0, 100.0, 1000.0)


@dataclass(frozen=True)
class WordCase:
    """A small model with its examples, named by `str`."""

    kind: Literal["skip_gram", "cbow"]
    dim: int
    negatives: int
    window: int
    values: Literal["random", "start", "extreme"] = "random"
    """Random vectors, the start of training (all scores 0), or scores of +-20, +-100 and +-1000."""

    def __str__(self) -> str:
        return f"word2vec {self.kind}, D {self.dim}, K {self.negatives}, window {self.window}, {self.values} vectors"

    def experiment(self, dtype: str) -> WordExperiment:
        changes: dict[str, object] = {f"model.{name}": getattr(self, name) for name in ("kind", "dim", "negatives")}
        return with_values(WordExperiment(), {**changes, "model.window": self.window, "training.dtype": dtype})


def with_values(experiment: WordExperiment, changes: Mapping[str, object]) -> WordExperiment:
    """Return a validated copy with values set by path, as `{"model.kind": "cbow"}`."""
    tree = experiment.model_dump(mode="json")
    for path, value in changes.items():
        section, name = path.split(".")
        tree[section][name] = value
    return WordExperiment.model_validate(tree)


def random_vectors(experiment: WordExperiment, vocab_size: int, rng: np.random.Generator) -> Arrays:
    """Return random tables [V, D] whose scores have a standard deviation of about 1."""
    shape = (vocab_size, experiment.model.dim)
    return {
        name: rng.normal(0.0, experiment.model.dim**-0.25, shape).astype(experiment.training.dtype)
        for name in (IN, OUT)
    }


def case_vectors(case: WordCase, experiment: WordExperiment, rng: np.random.Generator) -> Arrays:
    """Return the tables [VOCAB, D] of a case."""
    if case.values == "start":
        return initial_vectors(experiment.model, experiment.training, VOCAB)
    found = random_vectors(experiment, VOCAB, rng)
    if case.values == "extreme":
        # Only the first column of the input table is not 0, so that rounding does not move a score near 0.
        found[IN][:] = 0.0
        found[IN][:, 0] = rng.choice([-1.0, 1.0], VOCAB)
        found[OUT][:, 0] = rng.permutation(np.resize(EXTREMES, VOCAB))
    return found


def case_examples(case: WordCase, rng: np.random.Generator) -> Examples:
    """Return examples with repeated words, skipped noise words, and for CBOW unequal numbers of contexts, one too."""
    count = sum(STEPS)
    sizes = np.ones(count, dtype=np.int64)
    if case.kind == "cbow":
        sizes = rng.integers(1, 2 * case.window + 1, count)
        sizes[rng.integers(count)] = 1
    targets = rng.integers(0, VOCAB, (count, 1 + case.negatives)).astype(np.int32)
    targets[rng.integers(count), 1:] = -1  # all noise words equal the positive
    targets[:, 1:][targets[:, 1:] == targets[:, :1]] = -1
    return Examples(
        rng.integers(0, VOCAB, int(sizes.sum())).astype(np.int32),
        np.append(0, np.cumsum(sizes)),
        targets,
        np.append(0, np.cumsum(STEPS)),
        rng.uniform(0.01, 0.05, len(STEPS)),
    )
