"""Export a model as TorchScript, which PyTorch loads without seqtwin."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from backends.torch.dropout import no_dropout
from backends.torch.framework import torch
from backends.torch.model import Model
from core import spec
from core.models.bigrams import FACTORS
from core.models.exported import BIAS, SUMS, VALUES, input_names
from core.models.heads.pooled import PooledHead
from core.models.types import Arrays

nn = torch.nn

FILES = ("model.pt",)
"""Names of the files that `write_model` may write."""


class TensorWindows:
    """`backends.torch.runtime.Windows` of tensors."""

    def __init__(self, ids: torch.Tensor, lengths: torch.Tensor, width: int) -> None:
        counts = torch.clamp(lengths - (width - 1), min=1)
        steps = torch.arange(ids.shape[1], device=ids.device)
        self.mask = (steps[None, :] < counts[:, None])[:, :, None].to(torch.float32)
        self.counts = counts[:, None].to(torch.float32)


class TensorInputs:
    """`backends.torch.runtime.Inputs` of tensors, so that batch size and length stay dynamic.

    `ids` [B, L] int64; `lengths` [B] int64; `ngram_values` [B, L, V]; `logits` [B, outputs] of the n-grams.
    """

    def __init__(self, ids: torch.Tensor, lengths: torch.Tensor, ngram_values, logits) -> None:
        self.ids, self.lengths = ids, lengths
        self.targets: dict[str, torch.Tensor] = {}
        self.noise = None
        self.mask = self.windows(1).mask
        self.ngram_values = None if ngram_values is None else ngram_values * self.mask
        self._logits = logits
        rows, width = ids.shape[0], ids.shape[1]
        time, starts = torch.arange(width, device=ids.device)[None, :], torch.arange(rows, device=ids.device) * width
        within = torch.where(time < lengths[:, None], lengths[:, None] - 1 - time, time)
        self.reversal = (starts[:, None] + within).reshape(-1)
        self.first, self.last = starts, starts + lengths - 1

    def windows(self, width: int) -> TensorWindows:
        """Return the windows of `width` (`core.batch.Windows`)."""
        return TensorWindows(self.ids, self.lengths, width)

    def bigrams(self, rows: int) -> torch.Tensor:
        """Return the bigram of every token, [B, L] int64 (`core/models/bigrams.py`)."""
        before = torch.cat([torch.zeros_like(self.ids[:, :1]), self.ids[:, :-1]], dim=1)
        mixed = (before * FACTORS[0] + self.ids * FACTORS[1]) % (1 << 32)
        mixed = torch.bitwise_xor(mixed, mixed // (1 << 15))
        return torch.where(self.ids == 0, torch.zeros_like(mixed), 1 + mixed % (rows - 1))

    def ngram_logits(self, outputs: int) -> torch.Tensor:
        """Return the logits of the linear model of n-grams, [B, outputs]."""
        return self._logits


class Exported(nn.Module):
    """A model whose inputs are tensors (`input_names`), and whose outputs are logits and probabilities."""

    def __init__(self, model: spec.Model, arrays: Arrays, tables: Arrays) -> None:
        super().__init__()
        self.names = input_names(model)
        self.head, self.outputs = model.head, model.outputs if isinstance(model.head, PooledHead) else 0
        self.network = Model(model, "float32", "builtin")
        self.network.assign({name: array.astype(np.float32) for name, array in arrays.items()})
        for name, array in tables.items():
            self.register_buffer(name.replace(".", "_"), torch.from_numpy(array.astype(np.float32)))

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor, third=None, fourth=None) -> tuple[torch.Tensor, ...]:
        """Return logits, and unless the head has a CRF probabilities; the inputs are those of `input_names`, in order.

        Paddle does not support a variable number of arguments.
        """
        given = dict(zip(self.names, (ids, lengths, third, fourth), strict=False))
        ends, ngrams = given.get("ngram_ends"), given.get("ngrams")
        values = None if ends is None else self.table(VALUES)[ends].flatten(2)
        logits = None if ngrams is None else self.ngram_logits(ngrams)
        inputs = TensorInputs(ids, lengths, values, logits)
        found = self.network(inputs, no_dropout)["logits"]
        if getattr(self.head, "crf", False):
            return (found,)
        both = torch.cat([torch.zeros_like(found), found], dim=-1) if self.outputs == 1 else found
        return found, torch.softmax(both, dim=-1)

    def table(self, name: str) -> torch.Tensor:
        """Return a table of n-grams."""
        return getattr(self, name.replace(".", "_"))

    def ngram_logits(self, ngrams: torch.Tensor) -> torch.Tensor:
        """Return the logits [B, outputs] of the distinct n-grams [B, M] of each text, 0 for none."""
        squares, weights = self.table(SUMS)[ngrams].sum(dim=1).chunk(2, -1)
        z = weights / torch.where(squares > 0, squares, torch.ones_like(squares)).sqrt() + self.table(BIAS)
        return z if z.shape[1] == self.outputs else torch.cat([-z / 2, z / 2], dim=-1)


def write_model(folder: Path, model: spec.Model, arrays: Arrays, tables: Arrays) -> tuple[str, ...]:
    """Write the model in float32, and return the names of the files; `tables` are those of n-grams."""
    exported = Exported(model, arrays, tables).eval().requires_grad_(False)
    with torch.no_grad(), warnings.catch_warnings():
        # torch.jit is deprecated in favor of torch.export, and tracing warns about sizes that become constants.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(exported, example(model), check_trace=False)
        torch.jit.save(traced, str(folder / FILES[0]))
    return FILES


def example(model: spec.Model) -> tuple[torch.Tensor, ...]:
    """Return inputs of two texts, of 3 tokens and of 1."""
    orders = model.ngrams.orders if model.ngrams is not None else 0
    values = {
        "ids": torch.tensor([[1, 1, 1], [1, 0, 0]]),
        "lengths": torch.tensor([3, 1]),
        "ngrams": torch.zeros(2, 4, dtype=torch.int64),
        "ngram_ends": torch.zeros(2, 3, orders, dtype=torch.int64),
    }
    return tuple(values[name] for name in input_names(model))
