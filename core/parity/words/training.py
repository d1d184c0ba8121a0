"""Parity check of word2vec, rungs 3 and 4: training in lockstep, and runs that change backend between chunks."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.models.types import Arrays
from core.parity.findings import REFERENCE, Finding, pairs, widest
from core.parity.layers import Sides
from core.parity.training import (
    EARLY,
    EARLY_STEPS,
    TRAINING_LIMIT,
    Early,
    Trained,
    Watched,
    comparison_steps,
    curve_finding,
    moved,
    moved_finding,
    no_report,
)
from core.parity.words.rungs import word_engine
from core.spec.words import WordExperiment
from core.weights.array_file import read_arrays, write_arrays
from core.words.corpus import WordCorpus
from core.words.engine import WordEngine
from core.words.examples import Examples, Sampler
from core.words.reference import ReferenceEngine, initial_vectors

ROUTE_CHUNKS = 3
"""Chunks of a run on rung 4: one for each stretch between changes of backend."""


@dataclass(frozen=True)
class WordComparison:
    """One run of word2vec that all sides are to compute."""

    experiment: WordExperiment
    corpus: WordCorpus
    sides: Sides
    steps: int
    """Maximum number of steps of rung 3, from the beginning of the run."""

    def start(self) -> Arrays:
        """Return the start of both tables."""
        return initial_vectors(self.experiment.model, self.experiment.training, len(self.corpus.words))

    def sampler(self) -> Sampler:
        """Return the sampler of the run, in NumPy."""
        return Sampler(self.corpus, self.experiment.model, self.experiment.training)


def pieces(sampler: Sampler, steps: int, ends: set[int]) -> Iterator[Examples]:
    """Yield the first `steps` steps of a run, in pieces that end with each step of `ends`, and with each chunk."""
    done = 0
    for epoch, place in itertools.product(range(sampler.training.epochs), range(len(sampler))):
        examples = sampler.draw(epoch, place)
        last = min(len(examples.rates), steps - done)
        cuts = [step - done for step in sorted(ends) if 0 < step - done < last]
        for first, end in itertools.pairwise([0, *cuts, last]):
            yield examples.part(first, end)
        done += last
        if done >= steps:
            return


def compare_word_training(comparison: WordComparison, report=no_report) -> tuple[list[Finding], Trained]:
    """Train the first steps of a run in lockstep from the same tables, the NumPy reference too (rung 3).

    Compares the loss per prediction of every step (absolute), the tables after each of the first steps (relative to
    their change), and after 1, 2, 5, 10, 20, ... steps and the last one (relative to the largest entry).
    """
    start, dtype = comparison.start(), comparison.experiment.training.dtype
    engines: dict[str, WordEngine] = {name: word_engine(side, start) for name, side in comparison.sides.items()}
    engines[REFERENCE] = ReferenceEngine(start)
    both = pairs(list(engines))
    early = {pair: Early(start, dtype) for pair in both}
    watched = {pair: Watched("parameters") for pair in both}
    losses: dict[str, list[float]] = {name: [] for name in engines}
    parameters: dict[str, Arrays] = {}
    ends = comparison_steps(comparison.steps) | set(range(1, EARLY_STEPS + 1))
    for examples in pieces(comparison.sampler(), comparison.steps, ends):
        for name, engine in engines.items():
            losses[name] += (engine.train(examples) / np.diff(examples.steps)).tolist()
        step = len(losses[REFERENCE])
        report(step, comparison.steps)
        parameters = {name: engine.parameters() for name, engine in engines.items()}
        for one, other in both:
            if step <= EARLY_STEPS:
                early[one, other].update(step, parameters[one], parameters[other])
            watched[one, other].update(step, parameters[one], parameters[other], dtype)
    curves = {name: np.array(curve) for name, curve in losses.items()}
    findings = []
    for one, other in both:
        compared, count = f"{one} ~ {other}", len(curves[one])
        findings.append(curve_finding(3, compared, dtype, curves[one], curves[other]))
        findings.append(Finding(3, compared, f"parameters during {count} steps", dtype, **watched[one, other].figures))
        findings.append(Finding(3, compared, EARLY, dtype, **early[one, other].figures))
        findings.append(moved_finding(compared, dtype, start, parameters[one], parameters[other]))
    del curves[REFERENCE], parameters[REFERENCE]
    unmoved = [name for name in start if not any(moved(start, own, name) for own in parameters.values())]
    return findings, Trained(curves, {}, parameters, None, unmoved)


def compare_word_routes(comparison: WordComparison, workspace: Path, report=no_report) -> list[Finding]:
    """Compare runs that change backend after each chunk of an epoch with one that does not (rung 4).

    A run goes from one framework to the other and back, with a file of both tables and its place as the only state.
    Every side draws its examples itself.
    """
    dtype, names = comparison.experiment.training.dtype, sorted(comparison.sides)
    packages = {name: getattr(side, "package", side) for name, side in comparison.sides.items()}
    changes = list(itertools.permutations(names, 2))
    changes = [(one, two) for one, two in changes if packages[one] is not packages[two]] or changes
    routes = [(names[0],) * ROUTE_CHUNKS] + [(one, two, one) for one, two in changes]
    found: dict[str, tuple[np.ndarray, Arrays]] = {}
    for number, route in enumerate(routes):
        path, curve = workspace / f"route-{number}.safetensors", []
        write_arrays(path, comparison.start(), {"chunks": 0})
        for name in route:
            curve.append(_chunk(comparison, name, path))
            report(number * ROUTE_CHUNKS + len(curve), len(routes) * ROUTE_CHUNKS)
        found[" > ".join(route)] = np.concatenate(curve), read_arrays(path)[0]
    base = next(iter(found))
    expected_curve, expected = found.pop(base)
    findings = []
    for route, (curve, tables) in found.items():
        compared = f"{route} ~ {names[0]}"
        found_curve = curve_finding(4, compared, dtype, curve, expected_curve)
        findings.append(dataclasses.replace(found_curve, quantity=f"loss of {ROUTE_CHUNKS} chunks"))
        figures = {**widest(tables, expected, TRAINING_LIMIT[dtype]), "step": len(curve)}
        findings.append(Finding(4, compared, f"parameters after {ROUTE_CHUNKS} chunks", dtype, **figures))
    return findings


def _chunk(comparison: WordComparison, name: str, path: Path) -> np.ndarray:
    """Resume from a file with a new engine, train one chunk, and write the file; return the losses."""
    tables, state = read_arrays(path)
    engine = word_engine(comparison.sides[name], tables)
    model, training = comparison.experiment.model, comparison.experiment.training
    sampler = Sampler(comparison.corpus, model, training, engine.draw_noise)
    examples = sampler.draw(*divmod(state["chunks"], len(sampler)))
    losses = engine.train(examples) / np.diff(examples.steps)
    write_arrays(path, engine.parameters(), {"chunks": state["chunks"] + 1})
    return losses
