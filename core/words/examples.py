"""Training examples of word2vec: a chunk of sentences becomes minibatch steps.

The order is that of the papers' programs: drop rare words (`corpus`), subsample, form windows over what remains, draw
noise. All of it depends on (seed, epoch, chunk) alone, so that a resumed run draws the same, in either framework.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from core.rng import generator
from core.spec.words import WordModel, WordTraining
from core.words.corpus import WordCorpus
from core.words.sampling import NoiseTable, below, draw_noise, keep_thresholds, key_of, noise_table, random_bits

DrawNoise = Callable[[NoiseTable, int, np.ndarray, int], np.ndarray]
"""`sampling.draw_noise`, or a compiled function with the same result."""


@dataclass(frozen=True)
class Examples:
    """P predictions, in S steps.

    Prediction n has the mean of rows `inputs[offsets[n]:offsets[n + 1]]` of the input table, and predicts
    `targets[n, 0]` against the noise words `targets[n, 1:]`, of which -1 are skipped. Step s has the predictions
    `steps[s]` to `steps[s + 1]` (excluded) and the learning rate `rates[s]`. dtypes: `inputs` [I] and `targets`
    [P, 1 + K] int32, `offsets` [P + 1] and `steps` [S + 1] int64, `rates` [S] float64. `words` is the number of words
    of the chunk before subsampling, `kept` after it.
    """

    inputs: np.ndarray
    offsets: np.ndarray
    targets: np.ndarray
    steps: np.ndarray
    rates: np.ndarray
    words: int = 0
    kept: int = 0

    def __len__(self) -> int:
        return len(self.targets)

    def step(self, number: int) -> Examples:
        """Return one step as examples of one step."""
        return self.part(number, number + 1)

    def part(self, first: int, last: int) -> Examples:
        """Return the steps `first` to `last` (excluded)."""
        low, high = self.steps[first], self.steps[last]
        begin, end = self.offsets[low], self.offsets[high]
        return Examples(
            self.inputs[begin:end],
            self.offsets[low : high + 1] - begin,
            self.targets[low:high],
            self.steps[first : last + 1] - low,
            self.rates[first:last],
        )


class Sampler:
    """Draws the examples of a corpus, chunk by chunk."""

    def __init__(
        self, corpus: WordCorpus, model: WordModel, training: WordTraining, noise: DrawNoise = draw_noise
    ) -> None:
        self.corpus, self.model, self.training, self._noise = corpus, model, training, noise
        self.bounds = corpus.chunks(training.chunk_words)
        self.thresholds = keep_thresholds(corpus.counts, training.subsample)
        self.table = noise_table(corpus.counts, model.noise_power)

    def __len__(self) -> int:
        """The number of chunks."""
        return len(self.bounds) - 1

    def order(self, epoch: int) -> np.ndarray:
        """Return the order of the chunks in an epoch, [C] int64."""
        return generator(self.training.seed, "chunks", epoch).permutation(len(self))

    def words_before(self, epoch: int, place: int) -> int:
        """Return the number of words of all epochs and chunks before chunk number `place` of an epoch."""
        order = self.order(epoch)[:place]
        starts = self.corpus.offsets[self.bounds]
        return epoch * len(self.corpus.ids) + int((starts[order + 1] - starts[order]).sum())

    def draw(self, epoch: int, place: int) -> Examples:
        """Draw the examples of chunk number `place` in the order of an epoch."""
        chunk = int(self.order(epoch)[place])
        first, last = self.bounds[chunk], self.bounds[chunk + 1]
        offsets = self.corpus.offsets[first : last + 1]
        words = self.corpus.ids[offsets[0] : offsets[-1]]
        sentence = np.repeat(np.arange(last - first, dtype=np.int32), np.diff(offsets))
        seed = self.training.seed
        bits = random_bits(key_of(seed, "words", epoch, chunk), 0, len(words))
        kept = np.flatnonzero(bits >> np.uint64(32) < self.thresholds[words])
        windows = 1 + below(bits[kept], self.model.window)
        inputs, sizes, positives = self._predictions(
            words[kept], sentence[kept], windows, random_bits(key_of(seed, "order", epoch, chunk), 0, len(kept))
        )
        targets = self._noise(self.table, key_of(seed, "noise", epoch, chunk), positives, self.model.negatives)
        steps = np.append(np.arange(0, len(positives), self.training.batch_size), len(positives))
        before, total = self.words_before(epoch, place), self.training.epochs * len(self.corpus.ids)
        done = (before + len(words) * (steps[:-1] / max(1, len(positives)))) / total
        rates = self.training.learning_rate * (1.0 - (1.0 - self.training.final_share) * done)
        return Examples(inputs, np.append(0, np.cumsum(sizes)), targets, steps, rates, len(words), len(kept))

    def _predictions(
        self, words: np.ndarray, sentence: np.ndarray, windows: np.ndarray, order: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Form the windows of centers in random order: input words, their number per prediction, predicted words.

        `words`, `sentence`, `windows`, `order` [n]: the kept words, their sentences, the windows that they draw, and
        random numbers to sort by.
        """
        centers = np.argsort(order, kind="stable")
        reach = int(self.model.window)
        distances = np.array([d for d in range(-reach, reach + 1) if d], dtype=np.int64)
        near = centers[:, None] + distances
        inside = np.abs(distances) <= windows[centers, None]
        inside &= (near >= 0) & (near < len(words))
        near[~inside] = 0
        inside &= sentence[near] == sentence[centers, None]
        contexts = words[near[inside]]
        found = inside.sum(axis=1)
        if self.model.kind == "skip_gram":
            return np.repeat(words[centers], found), np.ones(len(contexts), dtype=np.int64), contexts
        some = found > 0
        return contexts, found[some], words[centers[some]]


def padded_inputs(examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Return the input words of every prediction [P, W] int32, padded with 0, and which are real, bool."""
    sizes = np.diff(examples.offsets)
    real = np.arange(sizes.max(initial=1)) < sizes[:, None]
    words = np.zeros(real.shape, dtype=np.int32)
    words[real] = examples.inputs
    return words, real
