"""The embedding: look-up by index or one-hot vectors, and gradient by rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from backends.kernels import training
from backends.torch.dropout import Dropout
from backends.torch.fast import RowGradient
from backends.torch.fast import empty as uninitialized
from backends.torch.framework import torch
from backends.torch.linear import empty, stacked_shape
from backends.torch.runtime import Inputs, to_tensor
from core import spec
from core.batch import BatchShard
from core.models.bigrams import bigram_ids
from core.models.embedding import BIGRAM_TABLE, FIRST_DIGIT, STATIC_TABLE, TABLE

WORDS = "words"
"""Key of the vectors that a language model reads as outputs."""

nn, F = torch.nn, torch.nn.functional


class Read(NamedTuple):
    """Vectors that a forward pass looked up in a table by rows."""

    vectors: torch.Tensor
    """[tokens, W], whose gradient the backward pass computes."""
    rows: training.Rows
    columns: training.Columns
    """Those of the table, with their dropout."""

    def gradient(self) -> torch.Tensor:
        """Return the gradient [tokens, E] before dropout."""
        first, dim, keep, rate = self.columns
        found = self.vectors.grad[..., first : first + dim]
        if keep is None:
            return found
        kept = to_tensor(keep, found.device) if isinstance(keep, np.ndarray) else keep
        return found * kept[..., first : first + dim].to(found.dtype) * (1.0 / (1.0 - rate))


class Embedding(nn.Module):
    """An embedding with `weight` [V, E]; row 0 (PAD) is zero and gets no gradient."""

    def __init__(self, embedding: spec.Embedding, dtype: torch.dtype, models: int | None = None):
        """Create zero parameters. With `models`, `weight` is [models, V, E].

        Batches then contain equal numbers of sequences per model, model by model.
        """
        super().__init__()
        self.models = models
        self.by_rows: tuple[str, ...] = ()
        """Tables whose gradients `row_gradients` provides; the parameters themselves then get none."""
        self.read: dict[str, Read] = {}
        """What the last forward pass looked up in these tables."""
        self.lookup = embedding.lookup
        self.rate = embedding.dropout
        self.output_size = embedding.output_size
        self.weight = self.static = self.bigrams = None
        """Table, frozen second table of `static_copy`, table of bigrams; None without."""
        if embedding.lookup == "scalar":
            return
        self.weight = empty(*stacked_shape(models, embedding.vocab_size, embedding.dim), dtype=dtype)
        self.weight.requires_grad_(embedding.trainable)
        if embedding.static_copy:
            self.static = empty(*self.weight.shape, dtype=dtype)
            self.static.requires_grad_(False)
        if embedding.bigrams:
            self.bigrams = empty(*stacked_shape(models, embedding.bigrams, embedding.bigram_dim), dtype=dtype)

    def forward(self, inputs: Inputs, dropout: Dropout) -> torch.Tensor:
        """Return [B, L, E], with a static copy [B, L, 2E], and with bigrams their dimension more."""
        if self.lookup == "scalar":
            values = (inputs.ids - FIRST_DIGIT).unsqueeze(-1).to(inputs.mask.dtype)
            return dropout(values * inputs.mask, "embedding", self.rate)
        if self.by_rows and self.lookup == "index":
            return self.look_up_tables(inputs, dropout)
        vectors = self.look_up(inputs.ids, self.weight, self.lookup)
        if self.static is not None:
            vectors = torch.cat([vectors, self.look_up(inputs.ids, self.static, self.lookup)], dim=-1)
        if self.bigrams is not None:
            own = self.look_up_table(BIGRAM_TABLE, self.bigrams, inputs.bigrams(self.bigrams.shape[-2]))
            vectors = torch.cat([vectors, own], dim=-1)
        return dropout(vectors, "embedding", self.rate)

    def words(self, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the rows of the target tokens [B, L, E] and of the noise words [K, E], without dropout.

        Without noise, those of all words but PAD replace it (`core/models/embedding.py`).
        """
        tokens, dim = inputs.targets["tokens"], self.weight.shape[-1]
        if inputs.noise is None:
            return self.look_up(tokens, self.weight, "index"), self.weight[1:]
        ids = torch.cat([tokens.reshape(-1), inputs.noise])
        found = self.look_up_table(TABLE, self.weight, ids, WORDS)
        targets, noise = found.split([tokens.numel(), len(inputs.noise)])
        return targets.reshape(*tokens.shape, dim), noise

    def look_up_tables(self, inputs: Inputs, dropout: Dropout) -> torch.Tensor:
        """Look up all tables by index, with dropout, each in one pass over its columns of [B, L, W]."""
        vectors, first = uninitialized((*inputs.ids.shape, self.output_size), self.weight), 0
        keep = dropout.keep("embedding", tuple(vectors.shape), self.rate)
        for name, table in self.named().items():
            size, dim = table.shape
            ids = inputs.bigrams(size) if name == BIGRAM_TABLE else inputs.ids
            self.look_up_rows(name, table, ids, vectors, training.Columns(first, dim, keep, self.rate))
            first += dim
        return vectors

    def look_up_table(self, name: str, table: torch.Tensor, ids: torch.Tensor, key: str | None = None) -> torch.Tensor:
        """Look up ids [...] -> [..., E] in a trained table; one of `by_rows` is read as `key`, by default its name."""
        if name not in self.by_rows:
            return self.look_up(ids, table, "index")
        vectors = uninitialized((*ids.shape, table.shape[-1]), table)
        self.look_up_rows(key or name, table, ids, vectors, training.Columns(0, table.shape[-1]))
        return vectors

    def look_up_rows(
        self, key: str, table: torch.Tensor, ids: torch.Tensor, vectors: torch.Tensor, columns: training.Columns
    ) -> None:
        """Write the rows of ids into `vectors`; keep these as `key` if their gradient is that of the table."""
        rows = training.Rows(ids, table.shape[0])
        rows.look_up(table, vectors, columns)
        if torch.is_grad_enabled() and (key == WORDS or key in self.by_rows):
            vectors.requires_grad_()
            self.read[key] = Read(vectors, rows, columns)

    def look_up(self, ids: torch.Tensor, weight: torch.Tensor, lookup: str) -> torch.Tensor:
        """Look up ids [B, L] -> [B, L, E] by `index` or `one_hot`."""
        if self.models is not None:
            return self.look_up_per_model(ids, weight, lookup)
        if lookup == "index":
            return F.embedding(ids, weight, padding_idx=0)
        # The column of PAD is removed, so that row 0 gets no gradient.
        one_hot = F.one_hot(ids, weight.shape[0])[:, :, 1:].to(weight.dtype)
        return torch.matmul(one_hot, weight[1:])

    def look_up_per_model(self, ids: torch.Tensor, weight: torch.Tensor, lookup: str) -> torch.Tensor:
        """Look up ids [M * B, L] -> [M * B, L, E]; row 0 (PAD) of no model gets a gradient."""
        models, size, dim = weight.shape
        shares = ids.reshape(models, -1)
        if lookup == "index":
            # PAD of every model is row 0 of the first one: the framework skips a single row.
            rows = shares + size * torch.arange(models, device=ids.device)[:, None] * (shares != 0)
            vectors = F.embedding(rows, weight.reshape(-1, dim), padding_idx=0)
        else:
            vectors = torch.bmm(F.one_hot(shares, size)[:, :, 1:].to(weight.dtype), weight[:, 1:])
        return vectors.reshape(*ids.shape, dim)

    def row_gradients(
        self, inputs: Inputs, whole: np.ndarray, tokens: np.ndarray | None, shard: BatchShard | None
    ) -> dict[str, RowGradient]:
        """Return the gradients of the tables `by_rows`, after the backward pass.

        For a `shard` of a batch with ids `whole` and target tokens `tokens` [B, L], they have the rows of the full
        batch, so that all processes have equal rows, whose values can be summed.
        """
        found = {}
        if TABLE in self.by_rows:
            if WORDS in self.read:
                found[TABLE] = self.tied_gradient(inputs, whole, tokens, shard)
            else:
                found[TABLE] = self.row_gradient(TABLE, inputs.ids, whole, shard)
        if BIGRAM_TABLE in self.by_rows:
            rows = self.bigrams.shape[-2]
            found[BIGRAM_TABLE] = self.row_gradient(BIGRAM_TABLE, inputs.bigrams(rows), bigram_ids(whole, rows), shard)
        return found

    def row_gradient(self, name: str, ids: torch.Tensor, whole: np.ndarray, shard: BatchShard | None) -> RowGradient:
        """Return the gradient of one table for `ids` [B, L], which are a `shard` of `whole`, or all."""
        read = self.read.pop(name)
        if shard is None:
            return RowGradient(read.rows, read.vectors.grad, read.columns)
        ids, vectors = self.of_full_batch(ids, read.gradient(), whole, shard)
        return RowGradient(training.Rows(ids, read.rows.vocab_size), vectors)

    def tied_gradient(
        self, inputs: Inputs, whole: np.ndarray, tokens: np.ndarray, shard: BatchShard | None
    ) -> RowGradient:
        """Return the gradient of the word table of a language model: of input words, target words and noise."""
        words = self.read.pop(WORDS).vectors.grad
        size, own = inputs.ids.shape, words[: -len(inputs.noise)]
        read = self.of_full_batch(inputs.ids, self.read.pop(TABLE).gradient(), whole, shard)
        target = self.of_full_batch(inputs.targets["tokens"], own.reshape(*size, -1), tokens, shard)
        ids = torch.cat([read[0].reshape(-1), target[0].reshape(-1), inputs.noise])
        dim = words.shape[-1]
        vectors = [own.reshape(-1, dim) for own in (read[1], target[1], words[-len(inputs.noise) :])]
        return RowGradient(training.Rows(ids, self.weight.shape[0]), torch.cat(vectors))

    def of_full_batch(
        self, ids: torch.Tensor, gradient: torch.Tensor, whole: np.ndarray, shard: BatchShard | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and gradient of the vectors of the full batch, whose other rows are zero in a shard."""
        if shard is None:
            return ids, gradient
        vectors = gradient.new_zeros(*whole.shape, gradient.shape[-1])
        vectors[torch.from_numpy(shard.chosen)] = gradient
        return to_tensor(whole, vectors.device), vectors

    def named(self) -> dict[str, nn.Parameter]:
        own = {TABLE: self.weight, STATIC_TABLE: self.static, BIGRAM_TABLE: self.bigrams}
        return {name: table for name, table in own.items() if table is not None}
