"""Parity check of a run of word2vec: rungs 0 to 5, the last of which compares nearest words."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from core.parity.findings import Finding, named
from core.parity.layers import Sides
from core.parity.training import Trained
from core.parity.words.drawing import compare_drawing
from core.parity.words.instances import WordCase, case_examples, case_vectors, random_vectors
from core.parity.words.rungs import compare_scores, compare_word_gradients
from core.parity.words.training import WordComparison, compare_word_routes, compare_word_training
from core.rng import generator
from core.spec.words import IN
from core.words.corpus import WordCorpus

QUERIES, NEAREST = 50, 10
"""Rung 5 compares the `NEAREST` words of the `QUERIES` most frequent words."""
WORD_TIE = {"float64": 1e-9, "float32": 1e-4}
"""Difference of two cosines below which two neighbors are a tie."""


def check_case(case: WordCase, dtype: str, sides: Sides, rng: np.random.Generator) -> list[Finding]:
    """Run rungs 1 and 2 for a small model."""
    parameters, examples = case_vectors(case, case.experiment(dtype), rng), case_examples(case, rng)
    return compare_scores(parameters, examples, sides) + compare_word_gradients(parameters, examples, sides)


def run_word_check(
    comparison: WordComparison, seed: int, workspace: Path, report: Callable[[str, int, int], None]
) -> tuple[list[Finding], Trained]:
    """Run all rungs for one run of word2vec in its dtype.

    `seed` keys the chunk of rung 0 and the random vectors of rungs 1 and 2, which also compare the start of training,
    where all scores are 0. Rung 4 takes the first chunks of the run. `report(what, done, total)` reports progress.
    """
    experiment, corpus, sides = comparison.experiment, comparison.corpus, comparison.sides
    rng, sampler, start = generator(seed, "word probe"), comparison.sampler(), comparison.start()
    report("rung 0", 0, 1)
    epoch, place = int(rng.integers(experiment.training.epochs)), int(rng.integers(len(sampler)))
    findings = compare_drawing(comparison, epoch, place)
    step = sampler.draw(epoch, place).step(0)
    report("rungs 1 and 2", 0, 1)
    random = random_vectors(experiment, len(corpus.words), rng)
    for parameters, at in ((random, ""), (start, " at the start")):
        findings += compare_scores(parameters, step, sides, at)
        findings += compare_word_gradients(parameters, step, sides, at)
    found, trained = compare_word_training(comparison, lambda done, total: report("rung 3", done, total))
    findings += found
    if len(sides) > 1:
        findings += compare_word_routes(comparison, workspace, lambda done, total: report("rung 4", done, total))
        report("rung 5", 0, 1)
        vectors = {name: own[IN] for name, own in trained.parameters.items()}
        findings += compare_neighbors(vectors, corpus, experiment.training.dtype)
    return findings, trained


def nearest(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest words of the first `QUERIES` words, [Q, N], and all cosines [Q, V], without the query."""
    unit = vectors.astype(np.float64)
    length = np.linalg.norm(unit, axis=1, keepdims=True)
    unit /= np.where(length == 0.0, 1.0, length)
    cosines = unit[:QUERIES] @ unit.T
    own = np.arange(len(cosines))
    cosines[own, own] = -np.inf
    return np.argsort(-cosines, axis=1, kind="stable")[:, :NEAREST], cosines


def compare_neighbors(vectors: dict[str, np.ndarray], corpus: WordCorpus, dtype: str) -> list[Finding]:
    """Compare the nearest words by the trained vectors [V, D] of every side (rung 5).

    All must be equal, except for ties. `absolute` is the largest difference of a cosine, `relative` the share of
    different neighbors.
    """
    found, findings = {name: nearest(own) for name, own in vectors.items()}, []
    for one, other in itertools.combinations(sorted(found), 2):
        (words, cosines), (others, other_cosines) = found[one], found[other]
        rows = np.arange(len(words))[:, None]
        differs = words != others
        tie = differs & (np.abs(cosines[rows, words] - cosines[rows, others]) < WORD_TIE[dtype])
        differs &= ~tie
        apart = np.abs(np.where(np.isinf(cosines), 0.0, cosines) - np.where(np.isinf(cosines), 0.0, other_cosines))
        share = float(differs.mean())
        findings.append(
            Finding(
                rung=5,
                compared=f"{one} ~ {other}",
                quantity=f"{words.shape[1]} nearest words of {len(words)}",
                dtype=dtype,
                absolute=float(apart.max()),
                relative=share,
                where=f"{int(differs.sum())} differ" + (f", {int(tie.sum())} ties" if tie.any() else ""),
                value=share,
                limit=0.0,
                first=named([corpus.words[row] for row in np.flatnonzero(differs.any(axis=1))]),
            )
        )
    return findings
