"""Definition of word2vec with negative sampling in NumPy: scores, losses, gradients, and an engine of them.

For the mean h of the input rows of a prediction and the output rows u_k of its targets, k = 0 the positive:

    s_k = u_k . h        loss = softplus(-s_0) + sum_k softplus(s_k)        dloss / ds_k = sigmoid(s_k) - y_k

with y_0 = 1 and y_k = 0 for noise words (Mikolov et al. 2013, equation 4). The loss of a step is the sum over its
predictions.
"""

from __future__ import annotations

import numpy as np

from core.models.types import Arrays
from core.rng import generator
from core.spec.words import IN, OUT, WordModel, WordTraining
from core.words.examples import Examples
from core.words.sampling import draw_noise


def initial_vectors(model: WordModel, training: WordTraining, vocab_size: int) -> Arrays:
    """Return the start of both tables [V, D]: uniform in (-1 / 2D, 1 / 2D), and zero (word2vec.c)."""
    shape, half = (vocab_size, model.dim), 0.5 / model.dim
    start = generator(training.seed, "parameter", IN).uniform(-half, half, shape)
    return {IN: start.astype(training.dtype), OUT: np.zeros(shape, dtype=training.dtype)}


def hidden(arrays: Arrays, examples: Examples) -> np.ndarray:
    """Return the mean input vectors [P, D]."""
    sums = np.add.reduceat(arrays[IN][examples.inputs], examples.offsets[:-1], axis=0)
    return sums / np.diff(examples.offsets)[:, None].astype(np.real(arrays[IN]).dtype)


def scores(arrays: Arrays, examples: Examples) -> np.ndarray:
    """Return the scores [P, 1 + K], 0 where a noise word is skipped."""
    found = np.einsum("pd,pkd->pk", hidden(arrays, examples), arrays[OUT][examples.targets])
    return np.where(examples.targets >= 0, found, 0.0)


def losses(arrays: Arrays, examples: Examples) -> np.ndarray:
    """Return the loss of every prediction, [P]. Supports the complex step."""
    signed = scores(arrays, examples)
    signed[:, 0] *= -1.0
    positive = np.real(signed) > 0.0
    # softplus(x) = max(x, 0) + log1p(exp(-|x|)), on complex numbers too.
    softplus = np.where(positive, signed, 0.0) + np.log1p(np.exp(np.where(positive, -signed, signed)))
    return np.where(examples.targets >= 0, softplus, 0.0).sum(axis=1)


def gradients(arrays: Arrays, examples: Examples) -> tuple[float, Arrays]:
    """Return the summed loss of all predictions, and its gradients of both tables [V, D]."""
    h, s = hidden(arrays, examples), scores(arrays, examples)
    s[:, 0] *= -1.0
    slope = np.exp(-np.logaddexp(0.0, -s))
    slope[:, 0] *= -1.0  # sigmoid(s) - 1 = -sigmoid(-s), without cancellation
    slope[examples.targets < 0] = 0.0
    found = {name: np.zeros_like(array) for name, array in arrays.items()}
    np.add.at(found[OUT], examples.targets, slope[:, :, None] * h[:, None, :])
    d_h = np.einsum("pk,pkd->pd", slope, arrays[OUT][examples.targets])
    sizes = np.diff(examples.offsets)
    np.add.at(found[IN], examples.inputs, np.repeat(d_h / sizes[:, None], sizes, axis=0))
    return float(losses(arrays, examples).sum()), found


class ReferenceEngine:
    """The engine in NumPy (`core.words.engine.WordEngine`)."""

    implementation = "numpy"
    draw_noise = staticmethod(draw_noise)

    def __init__(self, parameters: Arrays) -> None:
        self._arrays = {name: array.copy() for name, array in parameters.items()}

    def parameters(self) -> Arrays:
        return {name: array.copy() for name, array in self._arrays.items()}

    def train(self, examples: Examples) -> np.ndarray:
        found = np.zeros(len(examples.rates))
        for number, rate in enumerate(examples.rates):
            found[number], slopes = gradients(self._arrays, examples.step(number))
            for name, slope in slopes.items():
                self._arrays[name] -= self._arrays[name].dtype.type(rate) * slope
        return found

    def scores(self, examples: Examples) -> np.ndarray:
        return scores(self._arrays, examples)

    def gradients(self, examples: Examples) -> tuple[float, Arrays]:
        return gradients(self._arrays, examples)
