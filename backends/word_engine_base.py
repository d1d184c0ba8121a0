"""The engine of word2vec, apart from the framework operations of `loop`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from core.models.types import Arrays
from core.spec.words import IN, OUT
from core.words.examples import DrawNoise, Examples
from core.words.sampling import draw_noise


class WordEngineBase(ABC):
    """Common part of both backends' `WordEngine` (`core.words.engine`).

    `implementation`: `fast` computes whole chunks in the compiled kernel, on the memory of the framework's tensors;
    `loop` takes one step at a time in framework operations.
    """

    def __init__(self, tables: dict[str, Any], implementation: str) -> None:
        """Keep the `tables`, the tensors [V, D] by name."""
        self.tables, self.implementation = tables, implementation

    @property
    def draw_noise(self) -> DrawNoise:
        """The fastest function that draws noise words."""
        if self.implementation != "fast":
            return draw_noise
        from backends.kernels import words

        return words.draw_noise

    def parameters(self) -> Arrays:
        return {name: self._numpy(table) for name, table in self.tables.items()}

    def train(self, examples: Examples) -> np.ndarray:
        if self.implementation == "fast":
            from backends.kernels import words

            return words.train(self._kernel_tables(), examples)
        steps = range(len(examples.rates))
        return np.array([self._step(examples.step(number), float(examples.rates[number])) for number in steps])

    def scores(self, examples: Examples) -> np.ndarray:
        if self.implementation == "fast":
            from backends.kernels import words

            return words.scores(self._kernel_tables(), examples)
        return self._scores(examples)

    def gradients(self, examples: Examples) -> tuple[float, Arrays]:
        if self.implementation == "fast":
            from backends.kernels import words

            loss, d_in, d_out = words.gradients(self._kernel_tables(), examples)
            return loss, {IN: d_in, OUT: d_out}
        return self._gradients(examples)

    def _kernel_tables(self) -> Any:
        from backends.kernels import words

        return words.Tables(self.tables[IN], self.tables[OUT])

    @abstractmethod
    def _numpy(self, table: Any) -> np.ndarray:
        """Return a copy of a tensor."""

    @abstractmethod
    def _step(self, examples: Examples, rate: float) -> float:
        """Take one step; return its summed loss."""

    @abstractmethod
    def _scores(self, examples: Examples) -> np.ndarray: ...

    @abstractmethod
    def _gradients(self, examples: Examples) -> tuple[float, Arrays]: ...
