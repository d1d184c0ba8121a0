"""Compiled kernels of word2vec: training steps on two tables, and noise words.

Arrays are as in `backends/kernels`. Results do not depend on the number of threads.
"""

from __future__ import annotations

import ctypes

import numpy as np

from backends import kernels
from backends.kernels import arguments
from backends.kernels.arguments import Array
from core.words.examples import Examples
from core.words.sampling import NoiseTable

DTYPES = ("float32", "float64")
"""Dtypes by the flag `float64`."""


def _fields(integers: str, addresses: str) -> list[tuple[str, type]]:
    return [(name, ctypes.c_int64) for name in integers.split()] + [
        (name, kernels.ADDRESS) for name in addresses.split()
    ]


class WordSteps(ctypes.Structure):
    _fields_ = _fields(
        "float64 threads dim negatives steps",
        "inputs offsets targets bounds rates in_ out in_to out_to losses scores",
    )


class WordNoise(ctypes.Structure):
    _fields_ = [
        *_fields("threads count negatives words", ""),
        ("key", ctypes.c_uint64),
        *_fields("", "threshold alias positives targets"),
    ]


class Tables:
    """The input and the output table [V, D] of word vectors: NumPy arrays or tensors on the CPU."""

    def __init__(self, inputs: Array, outputs: Array):
        """Check the tables. Raises TypeError, ValueError for unequal shapes or dtypes."""
        self.shape = arguments.shape_of("inputs", inputs, "V, D")
        self.float64 = arguments.float64("inputs", inputs)
        self.arrays = {"inputs": inputs, "outputs": outputs}

    def addresses(self) -> list[int]:
        """Return the addresses of both tables. Raises TypeError, ValueError."""
        dtype = DTYPES[self.float64]
        return [arguments.address(name, array, self.shape, dtype) for name, array in self.arrays.items()]


def train(tables: Tables, examples: Examples) -> np.ndarray:
    """Train all steps in place; return the summed loss of each, [S] float64."""
    return _run(tables, tables, examples, examples.rates, None)


def gradients(tables: Tables, examples: Examples) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the summed loss of all predictions, and its gradients [V, D] of both tables."""
    slopes = [np.zeros(tables.shape, dtype=DTYPES[tables.float64]) for _ in range(2)]
    whole = Examples(
        examples.inputs, examples.offsets, examples.targets, np.array([0, len(examples)]), np.array([-1.0])
    )
    (loss,) = _run(tables, Tables(*slopes), whole, whole.rates, None)
    return float(loss), *slopes


def scores(tables: Tables, examples: Examples) -> np.ndarray:
    """Return the scores [P, 1 + K], 0 for skipped noise words."""
    found = np.zeros(examples.targets.shape, dtype=DTYPES[tables.float64])
    unused = [np.zeros(tables.shape, dtype=found.dtype) for _ in range(2)]
    _run(tables, Tables(*unused), examples, np.zeros_like(examples.rates), found)
    return found


def _run(
    tables: Tables, written: Tables, examples: Examples, rates: np.ndarray, scored: np.ndarray | None
) -> np.ndarray:
    (vocab_size, dim), count = tables.shape, len(examples)
    inputs, offsets, targets, bounds = examples.inputs, examples.offsets, examples.targets, examples.steps
    if count and (
        inputs.min() < 0
        or inputs.max() >= vocab_size
        or targets.min() < -1
        or targets.max() >= vocab_size
        or targets[:, 0].min() < 0
    ):
        raise ValueError(f"examples: got words outside of 0 to {vocab_size - 1}")
    if offsets[0] != 0 or offsets[-1] != len(inputs) or np.diff(offsets).min(initial=1) < 1:
        raise ValueError("examples.offsets: expected rising numbers from 0 to the number of inputs")
    if bounds[0] != 0 or bounds[-1] != count or np.diff(bounds).min(initial=0) < 0:
        raise ValueError("examples.steps: expected rising numbers from 0 to the number of predictions")
    losses = np.zeros(len(rates))
    problem = WordSteps(
        tables.float64,
        kernels.threads(),
        dim,
        targets.shape[1] - 1,
        len(rates),
        arguments.address("inputs", inputs, inputs.shape, "int32"),
        arguments.address("offsets", offsets, (count + 1,), "int64"),
        arguments.address("targets", targets, targets.shape, "int32"),
        arguments.address("steps", bounds, (len(rates) + 1,), "int64"),
        arguments.address("rates", rates, rates.shape, "float64"),
        *tables.addresses(),
        *written.addresses(),
        losses.ctypes.data,
        None if scored is None else scored.ctypes.data,
    )
    kernels.compute("seqtwin_word_steps", problem)
    return losses


def draw_noise(table: NoiseTable, key: int, positives: np.ndarray, negatives: int) -> np.ndarray:
    """Return the same as `core.words.sampling.draw_noise`."""
    positives = np.ascontiguousarray(positives, dtype=np.int32)
    targets = np.empty((len(positives), 1 + negatives), dtype=np.int32)
    words = (len(table.alias),)
    problem = WordNoise(
        kernels.threads(),
        len(positives),
        negatives,
        len(table.alias),
        key,
        arguments.address("threshold", table.threshold, words, "uint32"),
        arguments.address("alias", table.alias, words, "int32"),
        positives.ctypes.data,
        targets.ctypes.data,
    )
    kernels.compute("seqtwin_word_noise", problem)
    return targets
