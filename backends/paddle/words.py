"""word2vec in framework operations, step by step.

The mathematics is in `core/words/reference.py`. Only the rows of a step are looked up, differentiated and updated: the
gradient of a whole table would be zero nearly everywhere.
"""

from __future__ import annotations

import numpy as np

from backends.paddle.framework import paddle
from backends.paddle.runtime import native_device, to_numpy, to_tensor
from backends.word_engine_base import WordEngineBase
from core.engine.executor import Executor
from core.models.types import Arrays
from core.spec.words import IN, OUT
from core.words.examples import Examples, padded_inputs


def scores(inputs: paddle.Tensor, real: paddle.Tensor, outputs: paddle.Tensor) -> paddle.Tensor:
    """Return the scores [P, 1 + K] of target vectors `outputs` [P, 1 + K, D].

    `inputs` [P, W, D] are the vectors of up to W input words, of which `real` [P, W] marks those that exist.
    """
    hidden = (inputs * real[:, :, None]).sum(1) / real.sum(1, keepdim=True)
    return (outputs * hidden[:, None, :]).sum(2)


def loss(scored: paddle.Tensor, counted: paddle.Tensor) -> paddle.Tensor:
    """Return the summed loss of scores [P, 1 + K]; `counted` [P, 1 + K] is 0 for skipped noise words."""
    signs = -paddle.ones_like(scored)
    signs[:, 0] = 1.0
    return -(paddle.nn.functional.log_sigmoid(signs * scored) * counted).sum()


class WordEngine(WordEngineBase):
    """Both tables of word vectors in the framework."""

    def __init__(self, parameters: Arrays, executor: Executor) -> None:
        self._device = native_device(executor.device)
        # Memory of the framework, whose rows begin at cache lines: the kernel takes a sixth longer on NumPy's.
        tables = {name: to_tensor(array, self._device).clone() for name, array in parameters.items()}
        super().__init__(tables, executor.implementation)

    def _step(self, examples: Examples, rate: float) -> float:
        found, rows = self._differentiated(examples)
        for name, (ids, slopes) in rows.items():
            # Sums the slopes of a word that occurs several times; `table[ids] -= ...` would keep one of them.
            self.tables[name].index_add_(ids, 0, slopes * -rate)
        return found

    def _scores(self, examples: Examples) -> np.ndarray:
        words, real, targets, counted = self._inputs(examples)
        found = scores(self.tables[IN][words], real, self.tables[OUT][targets])
        return to_numpy(found * counted)

    def _gradients(self, examples: Examples) -> tuple[float, Arrays]:
        found, rows = self._differentiated(examples)
        tables = {
            name: paddle.zeros_like(self.tables[name]).index_add_(ids, 0, slopes)
            for name, (ids, slopes) in rows.items()
        }
        return found, {name: to_numpy(table) for name, table in tables.items()}

    def _differentiated(self, examples: Examples) -> tuple[float, dict[str, tuple[paddle.Tensor, paddle.Tensor]]]:
        """Return the summed loss, and of each table the ids [n] of rows, with repetitions, and gradients [n, D]."""
        words, real, targets, counted = self._inputs(examples)
        inputs, outputs = self.tables[IN][words], self.tables[OUT][targets]
        inputs.stop_gradient = outputs.stop_gradient = False
        total = loss(scores(inputs, real, outputs), counted)
        slopes = paddle.grad(total, [inputs, outputs])
        named = zip((IN, OUT), (words, targets), slopes, strict=True)
        return float(total), {name: (ids.flatten(), slope.flatten(0, 1)) for name, ids, slope in named}

    def _inputs(self, examples: Examples) -> tuple[paddle.Tensor, ...]:
        """Return input ids [P, W] and which are real, target ids [P, 1 + K] and which are counted."""
        dtype = str(self.tables[IN].dtype).rpartition(".")[2]
        words, real = padded_inputs(examples)
        arrays = (
            words.astype(np.int64),
            real.astype(dtype),
            np.maximum(examples.targets, 0).astype(np.int64),
            (examples.targets >= 0).astype(dtype),
        )
        return tuple(to_tensor(array, self._device) for array in arrays)

    def _numpy(self, table: paddle.Tensor) -> np.ndarray:
        return to_numpy(table).copy()
