"""Fit of the linear model of n-grams on training texts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.data.ngrams.linear import NgramModel, scales_of
from core.data.ngrams.rows import Rows
from core.data.ngrams.solver import Problem, Progress, Solver, no_progress, solve
from core.data.ngrams.table import NgramTable, build_table
from core.data.ngrams.texts import LabeledTexts, Texts
from core.errors import UserError
from core.models.ngrams import Ngrams
from core.rng import generator

MOST_VALUES = 1 << 24
"""Maximum number of values of an array [F, K] or [N, K] of K problems; more are solved in several turns."""
MOST_WEIGHTS = 1 << 28
"""Maximum number of weights of a model."""
TOKEN_BYTES = 48
"""Memory that a token takes at least while a table is made, besides 4 bytes for each n."""
WEIGHT_BYTES = 12
"""Memory of an n-gram and class in a model: ratio, weight and count."""


@dataclass(frozen=True)
class Fitted:
    """A model, and for every training text the logits [N, K] float32 of the fold that did not see it."""

    model: NgramModel
    train_logits: np.ndarray


def fit(
    training: LabeledTexts, spec: Ngrams, seed: int, solver: Solver = solve, progress: Progress = no_progress
) -> Fitted:
    """Fit the linear models on training texts. Both frameworks get the same arrays.

    Raises UserError if there are no n-grams, or too many for `training.memory`.
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
        self.columns = training.columns
        self.tokens, self.characters, self.rows = _tables(training.texts, spec, training.memory)
        self.size = len(self.tokens or ()) + len(self.characters or ())
        if self.size == 0:
            raise UserError(
                f"no n-gram occurs in {spec.min_texts} training texts: lower model.ngrams.min_texts, or use more texts"
            )
        together, memory = min(self.size * self.columns * (folds + 1), MOST_VALUES), training.memory
        need = WEIGHT_BYTES * self.size * self.columns + 8 * 4 * together  # ratios, squares and weights of a turn
        if self.size * self.columns > MOST_WEIGHTS or (memory is not None and need > memory):
            raise UserError(
                f"{self.size:,} n-grams of {self.columns:,} classes take {_gib(need)} or more and do not fit into"
                " memory: set a higher model.ngrams.min_texts"
            )
        in_fold = self.rows.counts(fold, max(folds, 1), self.size)
        self.whole = in_fold.sum(axis=0)
        self.without = [self.whole - in_fold[number] for number in range(folds)]
        """Of every fold: how many texts of the others have each n-gram, [F]."""

    def run(self, seed: int, solver: Solver, progress: Progress) -> Fitted:
        """Solve all problems, as many at a time as memory allows."""
        rows, training, models = self.rows, self.training, self.folds + 1
        texts, tokens = len(rows), len(self.tokens or ())
        ratios, weights = (np.empty((self.size, self.columns), np.float32) for _ in range(2))
        bias, logits = np.empty(self.columns, np.float32), np.empty((texts, self.columns), np.float32)
        per_token = np.empty((tokens, training.classes), np.float32)
        for turn, chosen in enumerate(turns := self._turns()):
            stacked = np.empty((self.size, len(chosen) * models))
            signs = np.empty((texts, len(chosen) * models), np.int8)
            for place, column in enumerate(chosen):
                own = slice(place * models, (place + 1) * models)
                counts = self._problems(column, stacked[:, own], signs[:, own])[:tokens]
                per_token[:, 1 if self.columns == 1 else column] = counts
                if self.columns == 1:
                    per_token[:, 0] = self.whole[:tokens] - counts
            scales = scales_of(rows, stacked)
            last = slice(self.folds, None, models)
            ratios[:, chosen.start : chosen.stop] = stacked[:, last]
            problem = Problem(rows, stacked, scales, signs, self.spec.cost)
            solved, constants = solver(problem, self.spec.passes, seed, _part(progress, turn, len(turns)))
            weights[:, chosen.start : chosen.stop], bias[chosen.start : chosen.stop] = solved[:, last], constants[last]
            scores = scales * rows.sums(solved) + constants
            for place, column in enumerate(chosen):
                logits[:, column] = scores[np.arange(texts), place * models + self.fold]
        if training.labels.ndim == 2:
            per_class = training.labels.sum(axis=0).astype(np.float32)
        else:
            per_class = np.bincount(training.labels, minlength=training.classes).astype(np.float32)
        model = NgramModel(self.spec, self.tokens, self.characters, ratios, weights, bias, per_token, per_class)
        return Fitted(model, logits)

    def _turns(self) -> list[range]:
        """Return the classes that are solved at a time."""
        together = max(MOST_VALUES // (max(self.size, len(self.rows)) * (self.folds + 1)), 1)
        return [range(start, min(start + together, self.columns)) for start in range(0, self.columns, together)]

    def _problems(self, column: int, ratios: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """Write the ratios [F, models] and signs [N, models] of one class, and return its texts' counts [F].

        There is a model without each fold, and at last one of all texts.
        """
        own = self.training.are_of(column)
        mine = np.flatnonzero(own)
        in_fold = self.rows.take(mine).counts(self.fold[mine], max(self.folds, 1), self.size)
        counts = in_fold.sum(axis=0)
        signs[:] = np.where(own, 1, -1)[:, None]
        for fold in range(self.folds):
            ratios[:, fold] = log_ratios(counts - in_fold[fold], self.without[fold], self.spec)
            signs[self.fold == fold, fold] = 0
        ratios[:, self.folds] = log_ratios(counts, self.whole, self.spec)
        return counts


def _part(progress: Progress, turn: int, turns: int) -> Progress:
    """Return the progress of one of several turns of equal length."""
    return lambda done, total: progress(turn * total + done, turns * total)


def _check_tokens(field: str, orders: int, texts: Texts, memory: int | None) -> None:
    """Raise UserError if a table of the n-grams of texts does not fit into memory."""
    tokens = len(texts.ids)
    need = tokens * (TOKEN_BYTES + 4 * orders)
    if memory is not None and need > memory:
        raise UserError(
            f"{field} {orders}: n-grams of {len(texts):,} texts with {tokens:,} units take at least {_gib(need)} of"
            f" memory, got {_gib(memory)}: set a lower data.train_limit"
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _tables(texts: Texts, spec: Ngrams, memory: int | None) -> tuple[NgramTable | None, NgramTable | None, Rows]:
    """Return the tables of tokens and of characters, and the n-grams of the texts."""
    tables: list[NgramTable | None] = []
    rows: Rows | None = None
    for field, orders in (("orders", spec.orders), ("characters", spec.characters)):
        if not orders:
            tables.append(None)
            continue
        _check_tokens(f"model.ngrams.{field}", orders, texts, memory)
        own = texts
        if field == "characters":
            own = texts.characters()
            _check_tokens(f"model.ngrams.{field}", orders, own, memory)
        table, numbers = build_table(own, orders, spec.min_texts)
        found = Rows.of(numbers, own.numbers, len(own), len(table))
        rows = found if rows is None else rows.joined(found, len(tables[0] or ()))
        tables.append(table)
    assert rows is not None, "one of the two is wanted"
    return tables[0], tables[1], rows
