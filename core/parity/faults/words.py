"""Faults of word2vec: in drawing examples, which all sides share, and in one framework's operations."""

from __future__ import annotations

import dataclasses
from types import ModuleType

import numpy as np

from core.parity.faults.fault import Fault, Patches
from core.spec.words import IN, OUT
from core.words import examples as drawing
from core.words.examples import Examples
from core.words.sampling import keep_thresholds, key_of, random_bits


def _noise_without_power(side: ModuleType) -> Patches:
    original = drawing.noise_table
    return [(drawing, "noise_table", lambda counts, power: original(counts, 1.0))]


def _positive_as_noise(side: ModuleType) -> Patches:
    engine = side.words.WordEngine
    original = engine.draw_noise.fget

    def draw_noise(self):
        draw = original(self)

        def unskipped(table, key, positives, negatives):
            targets = draw(table, key, positives, negatives)
            return np.where(targets < 0, targets[:, :1], targets)

        return unskipped

    return [(engine, "draw_noise", property(draw_noise))]


def _subsampling_after_windows(side: ModuleType) -> Patches:
    original = drawing.Sampler.draw

    def draw(self, epoch, place):
        own, self.thresholds = self.thresholds, keep_thresholds(self.corpus.counts, 0.0)
        try:
            whole = original(self, epoch, place)
        finally:
            self.thresholds = own
        bits = random_bits(key_of(self.training.seed, "after windows", epoch, place), 0, 2 * len(whole))
        words = np.stack([whole.inputs, whole.targets[:, 0]], axis=1)
        kept = ((bits >> np.uint64(32)).reshape(-1, 2) < own[words]).all(axis=1)
        number = int(kept.sum())
        steps = np.append(np.arange(0, number, self.training.batch_size), number)
        return Examples(
            whole.inputs[kept], np.arange(number + 1), whole.targets[kept], steps, whole.rates[: len(steps) - 1]
        )

    return [(drawing.Sampler, "draw", draw)]


def _windows_not_drawn(side: ModuleType) -> Patches:
    return [(drawing, "below", lambda bits, limit: np.full(len(bits), limit - 1, dtype=np.int64))]


def _exchanged_tables(side: ModuleType) -> Patches:
    engine = side.words.WordEngine
    original = engine.__init__

    def init(self, parameters, executor):
        original(self, {IN: parameters[OUT], OUT: parameters[IN]}, executor)

    return [(engine, "__init__", init)]


def _cbow_summed(side: ModuleType) -> Patches:
    original = side.words.scores

    def scores(inputs, real, outputs):
        return original(inputs, real, outputs) * real.sum(1, keepdim=True)

    return [(side.words, "scores", scores)]


def _weighted_rows(side: ModuleType, name: str, weights) -> Patches:
    """Multiply the gradient of each row of a table by `weights(examples, ids)`."""
    engine = side.words.WordEngine
    original = engine._differentiated

    def differentiated(self, examples):
        found, rows = original(self, examples)
        ids, slopes = rows[name]
        factors = np.asarray(weights(examples, side.runtime.to_numpy(ids)), dtype=side.runtime.to_numpy(slopes).dtype)
        return found, {**rows, name: (ids, slopes * side.runtime.to_tensor(factors[:, None], self._device))}

    return [(engine, "_differentiated", differentiated)]


def _cbow_gradient_undivided(side: ModuleType) -> Patches:
    def contexts(examples: Examples, ids: np.ndarray) -> np.ndarray:
        sizes = np.diff(examples.offsets)
        return np.repeat(sizes, len(ids) // len(sizes))

    return _weighted_rows(side, IN, contexts)


def _lost_repeats(side: ModuleType) -> Patches:
    def last(examples: Examples, ids: np.ndarray) -> np.ndarray:
        # `table[ids] -= slopes` keeps one of the slopes of a word, mostly the last.
        _, first_from_end = np.unique(np.where(examples.targets.ravel() < 0, -1, ids)[::-1], return_index=True)
        kept = np.zeros(len(ids))
        kept[len(ids) - 1 - first_from_end] = 1.0
        return kept

    return _weighted_rows(side, OUT, last)


def _wrong_at_zero(side: ModuleType) -> Patches:
    original, device = side.words.loss, side.runtime.native_device("cpu")

    def loss(scored, counted):
        scores = side.runtime.to_numpy(scored)
        at_zero = side.runtime.to_tensor((scores == 0.0).astype(scores.dtype), device)
        return original(scored, counted) - (scored * at_zero * counted).sum()

    return [(side.words, "loss", loss)]


def _no_decay(side: ModuleType) -> Patches:
    engine = side.words.WordEngine
    original = engine.train

    def train(self, examples):
        self._first_rate = getattr(self, "_first_rate", examples.rates[0])
        return original(self, dataclasses.replace(examples, rates=np.full_like(examples.rates, self._first_rate)))

    return [(engine, "train", train)]


def _one_by_one(side: ModuleType) -> Patches:
    engine = side.words.WordEngine
    original = engine.train

    def train(self, examples):
        sizes = np.diff(examples.steps)
        steps, rates = np.arange(len(examples) + 1), np.repeat(examples.rates, sizes)
        losses = original(self, dataclasses.replace(examples, steps=steps, rates=rates))
        return np.add.reduceat(losses, examples.steps[:-1])

    return [(engine, "train", train)]


CBOW = {"model.kind": "cbow"}
SKIP_GRAM = {"model.kind": "skip_gram"}

FAULTS = {
    "noise-without-power": Fault(
        "noise words are drawn by their counts, without the power", 0, "noise probabilities", _noise_without_power
    ),
    "positive-as-noise": Fault(
        "a noise word that equals the predicted word is not skipped", 0, "targets", _positive_as_noise
    ),
    "subsampling-after-windows": Fault(
        "frequent words are dropped after windows are formed", 0, "kept", _subsampling_after_windows, SKIP_GRAM
    ),
    "windows-not-drawn": Fault("every window has its largest size", 0, "inputs", _windows_not_drawn),
    "exchanged-tables": Fault("input and output table are exchanged", 1, "scores", _exchanged_tables),
    "cbow-summed": Fault("CBOW sums the context vectors, without dividing", 1, "scores", _cbow_summed, CBOW),
    "cbow-gradient-undivided": Fault(
        "CBOW's gradient is not divided by the number of contexts", 2, IN, _cbow_gradient_undivided, CBOW
    ),
    "lost-repeats": Fault(
        "of a word that is predicted several times in a step, one gradient counts", 2, OUT, _lost_repeats
    ),
    "wrong-at-zero": Fault(
        "the gradient at a score of 0 is too small by 1, as that of Paddle's binary cross-entropy",
        2,
        OUT,
        _wrong_at_zero,
    ),
    "rate-not-decayed": Fault("the learning rate does not fall", 3, "after step 2", _no_decay),
    "updates-within-a-step": Fault("every prediction updates the tables at once", 3, "step 1", _one_by_one),
}
