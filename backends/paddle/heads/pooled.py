"""The classification head: pooling over real tokens, an optional hidden layer, logits, and the loss."""

from __future__ import annotations

from backends.paddle.dropout import Dropout
from backends.paddle.fast import PoolFunction
from backends.paddle.framework import paddle
from backends.paddle.linear import Linear
from backends.paddle.runtime import Inputs, to_tensor
from core import spec
from core.spec.class_weights import weights_of

nn, F = paddle.nn, paddle.nn.functional


class PooledHead(nn.Layer):
    """Pooling over real tokens, an optional hidden layer, a linear map to logits."""

    def __init__(
        self,
        head: spec.PooledHead,
        features: int,
        split: int,
        dtype: str,
        implementation: str,
        models: int | None = None,
    ):
        """`features` F of the encoder's output; its first `split` columns are the forward direction's. With `models`,
        every weight is [models, ...]."""
        super().__init__()
        self.pooling = head.pooling
        self.split = split
        self.fast = implementation == "fast"
        self.rate = head.dropout
        self.activation = {"tanh": F.tanh, "relu": F.relu}[head.activation]
        self.hidden = None if head.hidden_size is None else Linear(features, head.hidden_size, dtype, models)
        self.output = Linear(head.hidden_size or features, head.outputs, dtype, models)

    def forward(self, x: paddle.Tensor, inputs: Inputs, dropout: Dropout) -> dict[str, paddle.Tensor]:
        """[B, L, F] -> `pooled` [B, F], `head.hidden` [B, F'] if there is one, `logits` [B, outputs]."""
        found = {"pooled": self.pool(x, inputs)}
        features = dropout(found["pooled"], "head.pooled", self.rate)
        if self.hidden is not None:
            found["head.hidden"] = self.activation(self.hidden(features))
            features = dropout(found["head.hidden"], "head.hidden", self.rate)
        found["logits"] = self.output(features)
        return found

    def pool(self, x: paddle.Tensor, inputs: Inputs) -> paddle.Tensor:  # [B, L, F] -> [B, F]
        if self.fast and self.pooling != "last":
            return PoolFunction.apply(x, inputs.lengths, self.pooling)
        if self.pooling == "mean":
            return x.sum(axis=1) / inputs.counts
        if self.pooling == "max":
            # By position, so that of equal maxima the first gets the gradient. Paddle's own `max` and `amax` also take
            # a hundred times the time backwards.
            with paddle.no_grad():
                lowest = paddle.full_like(x, float("-inf"))
                position = paddle.where(inputs.mask > 0, x, lowest).argmax(axis=1)  # [B, F]
                columns = paddle.arange(x.shape[-1])
                flat = (inputs.first[:, None] + position) * x.shape[-1] + columns
            return x.reshape([-1]).gather(flat.reshape([-1])).reshape(flat.shape)
        rows = x.reshape([-1, x.shape[-1]])
        forward = rows.gather(inputs.last, axis=0)[:, : self.split]
        reverse = rows.gather(inputs.first, axis=0)[:, self.split :]
        return paddle.concat([forward, reverse], axis=-1)

    def named(self) -> dict[str, paddle.Tensor]:
        hidden = {} if self.hidden is None else self.hidden.named("head.hidden")
        return {**hidden, **self.output.named("head")}


def class_weights(training: spec.Training, device) -> paddle.Tensor | None:
    """[C] in the model's dtype, or None where every text counts once. Raises ValueError for `balanced`."""
    weights = weights_of(training.class_weights)
    return None if weights is None else to_tensor(weights.astype(training.array_dtype), device)


def loss_of(
    logits: paddle.Tensor, labels: paddle.Tensor, reduction: str, weights: paddle.Tensor | None
) -> paddle.Tensor:
    """Cross-entropy of logits [B, C], or binary cross-entropy of one logit [B, 1]; `reduction` mean, sum or none.

    With `weights` [C] each text's is multiplied by its class's; the mean is over B texts (`core/models/model.py`,
    `loss`).
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
