"""Parity check of word2vec, rung 0: the examples that all sides share, against their definition."""

from __future__ import annotations

import numpy as np

from core.parity.findings import Finding, distances, named, widest
from core.parity.words.definition import examples_by_definition, noise_probabilities
from core.parity.words.rungs import word_engine
from core.parity.words.training import WordComparison
from core.words.examples import Examples, Sampler

NOISE_LIMIT = 1e-9
"""Limit of the difference of a noise probability; the alias table rounds each to 2^-32 / V."""
RATE_LIMIT = 1e-12
"""Limit of the difference of a learning rate, relative to the largest."""

NOISE, EXAMPLES, RATES = "noise probabilities", "examples of a chunk", "learning rates"


def compare_drawing(comparison: WordComparison, epoch: int, place: int) -> list[Finding]:
    """Compare the noise distribution, and the examples of one chunk, with their definition (rung 0).

    Every side draws with its own function for noise words. `value` of the examples is the number of entries that
    differ.
    """
    model, training, corpus = comparison.experiment.model, comparison.experiment.training, comparison.corpus
    own = {NOISE: Sampler(corpus, model, training).table.probabilities}
    wanted = {NOISE: noise_probabilities(corpus.counts, model.noise_power)}
    figures = widest(own, wanted, NOISE_LIMIT, {NOISE: 1.0})
    findings = [Finding(0, "core ~ definition", NOISE, "float64", **figures)]
    expected = examples_by_definition(corpus, model, training, epoch, place)
    for name, side in comparison.sides.items():
        noise = word_engine(side, comparison.start()).draw_noise
        drawn = Sampler(corpus, model, training, noise).draw(epoch, place)
        findings.append(examples_finding(f"{name} ~ definition", drawn, expected))
        if drawn.rates.shape == expected.rates.shape:
            rates = widest({"rates": drawn.rates}, {"rates": expected.rates}, RATE_LIMIT)
            findings.append(Finding(0, f"{name} ~ definition", RATES, "float64", **rates))
    return findings


def examples_finding(compared: str, drawn: Examples, expected: Examples) -> Finding:
    """Compare two drawings, entry by entry; fields of unequal shapes differ in all entries."""
    differing, first = {}, ""
    for field in ("kept", "inputs", "offsets", "targets", "steps"):
        one, other = np.asarray(getattr(drawn, field)), np.asarray(getattr(expected, field))
        if one.shape != other.shape:
            differing[field] = max(one.size, other.size)
        elif count := int((distances(one, other) > 0).sum()):
            differing[field] = count
    number, entries = sum(differing.values()), expected.inputs.size + expected.targets.size
    if differing:
        first = named([f"{field} ({count:,} entries)" for field, count in differing.items()])
    return Finding(
        rung=0,
        compared=compared,
        quantity=EXAMPLES,
        dtype="integers",
        absolute=float(number),
        relative=number / max(1, entries),
        where=first or f"none of {len(expected):,} predictions",
        value=float(number),
        limit=0.0,
        first=first,
    )
