"""The whole model, its loss, and its dropout."""

from __future__ import annotations

import numpy as np

from backends.paddle.framework import paddle
from backends.paddle.layers import Dropout, Embedding, PooledHead, RecurrentEncoder
from backends.paddle.runtime import Inputs, to_tensor
from core import spec
from core.streams import dropout_mask, native_seed

nn, F = paddle.nn, paddle.nn.functional


class Classifier(nn.Layer):
    """Embedding, encoder and head of a spec. `named` holds every parameter under its neutral name."""

    def __init__(self, model: spec.Model, dtype: str, implementation: str):
        super().__init__()
        self.embedding = Embedding(model.embedding, dtype)
        self.encoder = RecurrentEncoder(model.encoder, model.embedding.dim, dtype, implementation)
        self.head = PooledHead(model.head, model.encoder.output_size, model.encoder.hidden_size, dtype, implementation)
        self.named = {**self.embedding.named(), **self.encoder.named(), **self.head.named()}

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


def loss_of(logits: paddle.Tensor, labels: paddle.Tensor, reduction: str) -> paddle.Tensor:
    """Cross-entropy of logits [B, C], or binary cross-entropy of one logit [B, 1]; `reduction` mean or sum."""
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], labels.astype(logits.dtype), reduction=reduction)
    # By hand: Paddle's `log_softmax` and `cross_entropy` take no log-probability below -64 for what it is, in float64
    # either, and `cross_entropy` of Paddle 2.6 looks at the labels on the host at each call.
    shifted = logits - logits.detach().max(axis=1, keepdim=True)
    log_probabilities = shifted - shifted.exp().sum(axis=1, keepdim=True).log()
    return F.nll_loss(log_probabilities, labels, reduction=reduction)


def correct_of(logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
    """Number of right answers, as a tensor on the device."""
    predicted = (logits[:, 0] > 0).astype(labels.dtype) if logits.shape[1] == 1 else logits.argmax(axis=1)
    return (predicted == labels).astype("int64").sum()


def no_dropout(x: paddle.Tensor, place: str, rate: float) -> paddle.Tensor:
    return x


def training_dropout(training: spec.Training, step: int) -> Dropout:
    """The dropout of one step: masks from core (`shared`), or the framework's generator seeded for the step."""

    def shared(x: paddle.Tensor, place: str, rate: float) -> paddle.Tensor:
        if rate == 0.0:
            return x
        keep = to_tensor(dropout_mask(training.seed, step, place, tuple(x.shape), rate), x.place)
        return x * keep.astype(x.dtype) * (1.0 / (1.0 - rate))

    def native(x: paddle.Tensor, place: str, rate: float) -> paddle.Tensor:
        return x if rate == 0.0 else F.dropout(x, p=rate, training=True)

    if training.dropout_masks == "shared":
        return shared
    paddle.seed(native_seed(training.seed, step))
    return native
