"""The whole model, its loss, and its dropout."""

from __future__ import annotations

import numpy as np

from backends.paddle.framework import paddle
from backends.paddle.layers import Dropout, Embedding, PooledHead, RecurrentEncoder
from backends.paddle.runtime import Inputs, to_tensor
from core import spec
from core.batches import Part
from core.class_weights import weights_of
from core.parameters import parameter_table
from core.streams import dropout_mask, native_seed

nn, F = paddle.nn, paddle.nn.functional


class Classifier(nn.Layer):
    """Embedding, encoder and head of a spec. `named` holds every parameter under its neutral name,
    `trainable` those that learn."""

    def __init__(self, model: spec.Model, dtype: str, implementation: str, models: int | None = None):
        """With `models`, so many of them side by side: every parameter is [models, ...], and a batch holds as many
        sequences for each, model by model."""
        super().__init__()
        encoder = model.encoder
        self.embedding = Embedding(model.embedding, dtype, models)
        self.encoder = RecurrentEncoder(encoder, model.embedding.dim, dtype, implementation, models)
        self.head = PooledHead(model.head, encoder.output_size, encoder.hidden_size, dtype, implementation, models)
        self.named = {**self.embedding.named(), **self.encoder.named(), **self.head.named()}
        # Not by freezing the others: Paddle's own recurrent layers need a gradient for every weight or for none.
        self.trainable = {row.name: self.named[row.name] for row in parameter_table(model) if row.trainable}

    def forward(self, inputs: Inputs, dropout: Dropout) -> dict[str, paddle.Tensor]:
        """Every layer's output by name, `logits` [B, outputs] among them (`core/contract.py`, `activations`)."""
        x = self.embedding(inputs, dropout)
        layers = self.encoder(x, inputs, dropout)
        found = {"embedding": x, **{f"encoder.l{number}": output for number, output in enumerate(layers)}}
        return {**found, **self.head(layers[-1], inputs, dropout)}

    def assign(self, arrays: dict[str, np.ndarray]) -> None:
        """Copy values into the parameters, in place."""
        with paddle.no_grad():
            for name, parameter in self.named.items():
                parameter.set_value(arrays[name])


def class_weights(training: spec.Training, device) -> paddle.Tensor | None:
    """[C] in the model's dtype, or None where every text counts once. Raises ValueError for `balanced`."""
    weights = weights_of(training.class_weights)
    return None if weights is None else to_tensor(weights.astype(training.array_dtype), device)


def loss_of(
    logits: paddle.Tensor, labels: paddle.Tensor, reduction: str, weights: paddle.Tensor | None
) -> paddle.Tensor:
    """Cross-entropy of logits [B, C], or binary cross-entropy of one logit [B, 1]; `reduction` mean, sum or none.

    With `weights` [C] each text's is multiplied by its class's; the mean is over B texts (`core/reference.py`, `loss`).
    """
    if weights is not None:
        # Not by the functions' own `weight`, whose mean divides by the sum of weights.
        losses = loss_of(logits, labels, "none", None) * weights[labels]
        return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], labels.astype(logits.dtype), reduction=reduction)
    # By hand: Paddle's `log_softmax` and `cross_entropy` take no log-probability below -64 for what it is, in float64
    # either, and `cross_entropy` of Paddle 2.6 looks at the labels on the host at each call.
    shifted = logits - logits.detach().max(axis=1, keepdim=True)
    log_probabilities = shifted - shifted.exp().sum(axis=1, keepdim=True).log()
    return F.nll_loss(log_probabilities, labels, reduction=reduction)


def right_of(logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
    """Which answers are right: [B] int64 of 0 and 1."""
    predicted = (logits[:, 0] > 0).astype(labels.dtype) if logits.shape[1] == 1 else logits.argmax(axis=1)
    return (predicted == labels).astype("int64")


def no_dropout(x: paddle.Tensor, place: str, rate: float) -> paddle.Tensor:
    return x


def training_dropout(
    training: spec.Training,
    step: int,
    seeds: list[int] | None = None,
    part: Part | None = None,
    drawn: dict[str, np.ndarray] | None = None,
) -> Dropout:
    """The dropout of one step: masks from core (`shared`), or the framework's generator seeded for the step. With
    `seeds`, of models side by side, each model's rows are dropped by its own, which `native` cannot. Of a `part` of a
    batch the rows are dropped as in the whole, by `native` each part's by a seed of its own. `drawn` are the masks of
    every place, of the whole batch, where they are there already."""
    seeds = [training.seed] if seeds is None else seeds

    def shared(x: paddle.Tensor, place: str, rate: float) -> paddle.Tensor:
        if rate == 0.0:
            return x
        shape = (part.rows if part else x.shape[0] // len(seeds), *x.shape[1:])
        masks = [drawn[place]] if drawn else [dropout_mask(seed, step, place, shape, rate) for seed in seeds]
        if part:
            masks = [mask[part.chosen] for mask in masks]
        keep = to_tensor(masks[0] if len(masks) == 1 else np.concatenate(masks), x.place)
        return x * keep.astype(x.dtype) * (1.0 / (1.0 - rate))

    def native(x: paddle.Tensor, place: str, rate: float) -> paddle.Tensor:
        return x if rate == 0.0 else F.dropout(x, p=rate, training=True)

    if training.dropout_masks == "shared":
        return shared
    paddle.seed(native_seed(training.seed, step, part.rank if part else 0))
    return native
