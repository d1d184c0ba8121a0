"""Export a model for Paddle Inference, which loads it without seqtwin."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from backends.paddle.dropout import no_dropout
from backends.paddle.framework import paddle
from backends.paddle.model import Model
from core import spec
from core.models.bigrams import FACTORS
from core.models.exported import BIAS, SUMS, VALUES, input_names
from core.models.heads.pooled import PooledHead
from core.models.types import Arrays

nn, F = paddle.nn, paddle.nn.functional

FILES = ("model.json", "model.pdmodel", "model.pdiparams")
"""Names of the files that `write_model` may write: the first since Paddle 3, the second before it."""


class TensorWindows:
    """`backends.paddle.runtime.Windows` of tensors."""

    def __init__(self, ids: paddle.Tensor, lengths: paddle.Tensor, width: int) -> None:
        counts = paddle.clip(lengths.unsqueeze(1) - (width - 1), min=1)
        steps = paddle.arange(paddle.shape(ids)[1], dtype="int64")
        self.mask = (steps < counts).unsqueeze(2).astype("float32")
        self.counts = counts.astype("float32")


class TensorInputs:
    """`backends.paddle.runtime.Inputs` of tensors, so that batch size and length stay dynamic.

    `ids` [B, L] int64; `lengths` [B] int64; `ngram_values` [B, L, V]; `logits` [B, outputs] of the n-grams.
    """

    def __init__(self, ids: paddle.Tensor, lengths: paddle.Tensor, ngram_values, logits) -> None:
        self.ids, self.lengths = ids, lengths
        self.targets: dict[str, paddle.Tensor] = {}
        self.noise = None
        self.mask = self.windows(1).mask
        self.ngram_values = None if ngram_values is None else ngram_values * self.mask
        self._logits = logits
        rows, width = paddle.shape(ids)[0].astype("int64"), paddle.shape(ids)[1].astype("int64")
        time, starts = paddle.arange(width, dtype="int64").unsqueeze(0), paddle.arange(rows, dtype="int64") * width
        ends = lengths.unsqueeze(1)
        within = paddle.where(time < ends, ends - 1 - time, time.expand_as(ids))
        self.reversal = (starts.unsqueeze(1) + within).reshape([-1])
        self.first, self.last = starts, starts + lengths - 1

    def windows(self, width: int) -> TensorWindows:
        """Return the windows of `width` (`core.batch.Windows`)."""
        return TensorWindows(self.ids, self.lengths, width)

    def bigrams(self, rows: int) -> paddle.Tensor:
        """Return the bigram of every token, [B, L] int64 (`core/models/bigrams.py`).

        In a static graph the factor of `tensor * number` is rounded to float32, so that all numbers are tensors.
        """
        first, second, limit, half, size = (
            paddle.full([1], number, "int64") for number in (*FACTORS, 1 << 32, 1 << 15, rows - 1)
        )
        before = paddle.concat([paddle.zeros_like(self.ids[:, :1]), self.ids[:, :-1]], axis=1)
        mixed = (before * first + self.ids * second) % limit
        mixed = paddle.bitwise_xor(mixed, mixed // half)
        return paddle.where(self.ids == 0, paddle.zeros_like(mixed), 1 + mixed % size)

    def ngram_logits(self, outputs: int) -> paddle.Tensor:
        """Return the logits of the linear model of n-grams, [B, outputs]."""
        return self._logits


class Exported(nn.Layer):
    """A model whose inputs are tensors (`input_names`), and whose outputs are logits and probabilities."""

    def __init__(self, model: spec.Model, arrays: Arrays, tables: Arrays) -> None:
        super().__init__()
        self.names = input_names(model)
        self.head, self.outputs = model.head, model.outputs if isinstance(model.head, PooledHead) else 0
        self.network = Model(model, "float32", "builtin")
        self.network.assign({name: array.astype(np.float32) for name, array in arrays.items()})
        for name, array in tables.items():
            self.register_buffer(name.replace(".", "_"), paddle.to_tensor(array.astype(np.float32)))

    def forward(self, ids: paddle.Tensor, lengths: paddle.Tensor, third=None, fourth=None) -> tuple[paddle.Tensor, ...]:
        """Return logits, and unless the head has a CRF probabilities; the inputs are those of `input_names`, in order.

        Paddle does not support a variable number of arguments.
        """
        given = dict(zip(self.names, (ids, lengths, third, fourth)))  # noqa: B905 (Paddle cannot convert `strict`)
        ends, ngrams = given.get("ngram_ends"), given.get("ngrams")
        values = None if ends is None else F.embedding(ends, self.table(VALUES)).flatten(2)
        logits = None if ngrams is None else self.ngram_logits(ngrams)
        inputs = TensorInputs(ids, lengths, values, logits)
        found = self.network(inputs, no_dropout)["logits"]
        if getattr(self.head, "crf", False):
            return (found,)
        both = paddle.concat([paddle.zeros_like(found), found], axis=-1) if self.outputs == 1 else found
        return found, F.softmax(both, axis=-1)

    def table(self, name: str) -> paddle.Tensor:
        """Return a table of n-grams."""
        return getattr(self, name.replace(".", "_"))

    def ngram_logits(self, ngrams: paddle.Tensor) -> paddle.Tensor:
        """Return the logits [B, outputs] of the distinct n-grams [B, M] of each text, 0 for none."""
        squares, weights = F.embedding(ngrams, self.table(SUMS)).sum(axis=1).chunk(2, -1)
        z = weights / paddle.where(squares > 0, squares, paddle.ones_like(squares)).sqrt() + self.table(BIAS)
        return z if z.shape[1] == self.outputs else paddle.concat([-z / 2, z / 2], axis=-1)


def write_model(folder: Path, model: spec.Model, arrays: Arrays, tables: Arrays) -> tuple[str, ...]:
    """Write the model in float32, and return the names of the files; `tables` are those of n-grams."""
    exported = Exported(model, arrays, tables)
    exported.eval()
    with paddle.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        static = paddle.jit.to_static(exported, input_spec=example(model), full_graph=True)
        paddle.jit.save(static, str(folder / "model"))
    return tuple(name for name in FILES if (folder / name).is_file())


def example(model: spec.Model) -> list[paddle.static.InputSpec]:
    """Return the shapes of the inputs, whose batch size and length are dynamic."""
    orders = model.ngrams.orders if model.ngrams is not None else 0
    shapes = {"ids": [None, None], "lengths": [None], "ngrams": [None, None], "ngram_ends": [None, None, orders]}
    return [paddle.static.InputSpec(shapes[name], "int64", name) for name in input_names(model)]
