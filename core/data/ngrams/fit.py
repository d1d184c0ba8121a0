"""Fit of the linear model of n-grams on training texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from core.data.ngrams.linear import NgramModel, scales_of
from core.data.ngrams.rows import Rows
from core.data.ngrams.solver import Problem, Progress, Solver, no_progress, solve
from core.data.ngrams.table import NgramTable, build_table
from core.data.ngrams.texts import LabeledTexts, Texts
from core.errors import UserError
from core.models.ngrams import Ngrams, columns_of
from core.rng import generator

MOST_VALUES = 1 << 25
"""Maximum number of values of an array [F, columns] in a fit; more classes are fitted in several turns."""
MOST_WEIGHTS = 1 << 28
"""Maximum number of weights of a model."""


@dataclass(frozen=True)
class Fitted:
    """A model, and for every training text the logits [N, K] float32 of the fold that did not see it."""

    model: NgramModel
    train_logits: np.ndarray


def fit(
    training: LabeledTexts, spec: Ngrams, seed: int, solver: Solver = solve, progress: Progress = no_progress
) -> Fitted:
    """Fit the linear models on training texts. Both frameworks get the same arrays.

    Raises UserError if there are too many n-grams for memory, or none.
    """
    fold = folds_of(training.groups, spec.folds, seed)
    return _Fit(training, spec, fold, int(fold.max()) + 1).run(seed, solver, progress)


def fit_alone(
    training: LabeledTexts, spec: Ngrams, seed: int, solver: Solver = solve, progress: Progress = no_progress
) -> NgramModel:
    """Fit the linear models without folds, for new texts only. Raises UserError like `fit`."""
    fold = np.zeros(len(training.labels), np.int64)
    return _Fit(training, spec, fold, 0).run(seed, solver, progress).model


def folds_of(groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return the fold of every text, [N] int64; texts of one group >= 0 share a fold.

    Groups are shuffled and divided at equal numbers of texts. There are never more folds than groups.
    """
    groups = np.where(groups >= 0, groups.astype(np.int64), -1 - np.arange(len(groups)))
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = generator(seed, "fold").permutation(len(sizes))
    before = np.cumsum(sizes[order]) - sizes[order]
    fold = np.empty(len(sizes), dtype=np.int64)
    fold[order] = before * min(folds, len(sizes)) // len(groups)
    return np.unique(fold, return_inverse=True)[1][group]


def log_ratios(own: np.ndarray, whole: np.ndarray, spec: Ngrams) -> np.ndarray:
    """Return log((p / sum p) / (q / sum q)) [F] of a class, which `own` [F] of the `whole` [F] texts are of.

    It is 0 for an n-gram that fewer than `min_texts` texts have: the texts of a fold are scored like new ones.
    """
    p, q = own + spec.smoothing, whole - own + spec.smoothing
    return np.where(whole < spec.min_texts, 0.0, np.log((p / p.sum()) / (q / q.sum())))


class _Fit:
    """The fit of all classes, each on all texts and on all but one of `folds` folds."""

    def __init__(self, training: LabeledTexts, spec: Ngrams, fold: np.ndarray, folds: int) -> None:
        self.training, self.spec, self.fold, self.folds = training, spec, fold, folds
        self.columns = columns_of(training.classes)
        self.tokens, self.characters, self.rows = _tables(training.texts, spec)
        self.size = len(self.tokens or ()) + len(self.characters or ())
        if self.size == 0:
            raise UserError(
                f"no n-gram occurs in {spec.min_texts} training texts: lower model.ngrams.min_texts, or use more texts"
            )
        if self.size * self.columns > MOST_WEIGHTS:
            raise UserError(
                f"{self.size:,} n-grams of {self.columns:,} classes do not fit into memory:"
                f" set a higher model.ngrams.min_texts"
            )
        self.counts = self.rows.counts(training.labels, training.classes, self.size)
        self.in_fold = self.rows.counts(fold, max(folds, 1), self.size)

    def run(self, seed: int, solver: Solver, progress: Progress) -> Fitted:
        """Solve all problems, as many at a time as memory allows."""
        rows, texts = self.rows, len(self.rows)
        ratios, weights = (np.empty((self.size, self.columns), np.float32) for _ in range(2))
        bias, logits = np.empty(self.columns, np.float32), np.empty((texts, self.columns), np.float32)
        models = self.folds + 1
        together = max(MOST_VALUES // (self.size * models), 1)
        turns = [range(start, min(start + together, self.columns)) for start in range(0, self.columns, together)]
        for turn, chosen in enumerate(turns):
            pairs = [pair for column in chosen for pair in self._problems(column)]
            stacked = np.stack([own for own, _ in pairs], axis=1)
            signs = np.stack([own for _, own in pairs], axis=1).astype(np.int8)
            problem = Problem(rows, stacked, scales_of(rows, stacked), signs, self.spec.cost)
            done, total = turn * self.spec.passes, len(turns) * self.spec.passes
            solved, constants = solver(
                problem,
                self.spec.passes,
                seed,
                lambda passed, _, done=done, total=total: progress(done + passed, total),
            )
            scores = problem.scales * rows.sums(solved) + constants
            for place, column in enumerate(chosen):
                last = place * models + self.folds
                ratios[:, column], weights[:, column], bias[column] = stacked[:, last], solved[:, last], constants[last]
                logits[:, column] = scores[np.arange(texts), place * models + self.fold]
        classes = self.training.classes
        per_token = np.ascontiguousarray(self.counts[:, : len(self.tokens or ())].T, dtype=np.float32)
        per_class = np.bincount(self.training.labels, minlength=classes).astype(np.float32)
        model = NgramModel(self.spec, self.tokens, self.characters, ratios, weights, bias, per_token, per_class)
        return Fitted(model, logits)

    def _problems(self, column: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the ratios [F] and signs [N] of one class, without each fold and at last with all texts."""
        positive = 1 if self.columns == 1 else column
        own = self.training.labels == positive
        whole, counts = self.in_fold.sum(axis=0), self.counts[positive]
        group = np.where(own, self.fold, self.folds)
        own_in_fold = self.rows.counts(group, self.folds + 1, self.size)
        for fold in range(self.folds):
            ratios = log_ratios(counts - own_in_fold[fold], whole - self.in_fold[fold], self.spec)
            yield ratios, np.where(self.fold == fold, 0, np.where(own, 1, -1))
        yield log_ratios(counts, whole, self.spec), np.where(own, 1, -1)


def _part(progress: Progress, turn: int, turns: int) -> Progress:
    """Return the progress of one of several turns of equal length."""
    return lambda done, total: progress(turn * total + done, turns * total)


def _tables(texts: Texts, spec: Ngrams) -> tuple[NgramTable | None, NgramTable | None, Rows]:
    """Return the tables of tokens and of characters, and the n-grams of the texts."""
    tables: list[NgramTable | None] = []
    rows: Rows | None = None
    for orders, own in ((spec.orders, texts), (spec.characters, texts.characters() if spec.characters else texts)):
        if not orders:
            tables.append(None)
            continue
        table, numbers = build_table(own, orders, spec.min_texts)
        found = Rows.of(numbers, own.numbers, len(own), len(table))
        rows = found if rows is None else rows.joined(found, len(tables[0] or ()))
        tables.append(table)
    assert rows is not None, "one of the two is wanted"
    return tables[0], tables[1], rows
