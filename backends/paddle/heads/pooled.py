"""Classification head: pooling over real tokens, optional hidden layer, logits, loss."""

from __future__ import annotations

from backends.kernels.training import POOLINGS, fused
from backends.paddle.dropout import Dropout
from backends.paddle.fast import PoolFunction
from backends.paddle.framework import paddle
from backends.paddle.linear import Linear, empty, linear, stacked_shape
from backends.paddle.precision import rounded
from backends.paddle.runtime import Inputs, to_tensor
from core import spec
from core.models.encoders.encoder import Block, Encoded
from core.models.heads.pooling import joined
from core.spec.class_weights import weights_of

nn, F = paddle.nn, paddle.nn.functional


ACTIVATIONS = {"none": lambda x: x, "tanh": F.tanh, "relu": F.relu}


class Attention(nn.Layer):
    """Weights of `attention` pooling (`core/models/heads/pooling.py`)."""

    def __init__(self, features: int, dtype: str, models: int | None):
        """Create the layers for F = `features`. With `models`, every weight is [models, ...]."""
        super().__init__()
        self.weight = empty(*stacked_shape(models, features, features), dtype=dtype)
        self.score = empty(*stacked_shape(models, 1, features), dtype=dtype)
        self.rounds = False
        """True if the inputs of both products are rounded to bfloat16."""

    def forward(self, x: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor:
        """Return weights [B, L, 1], exactly 0 where `mask` [B, L, 1] is 0, for x [B, L, F]."""
        flat = x.reshape([-1, x.shape[-1]])
        inner = paddle.tanh(linear(rounded(flat, self.rounds), self.weight, None))
        scores = linear(rounded(inner, self.rounds), self.score, None).reshape(mask.shape)
        scores = paddle.where(mask > 0, scores, paddle.full_like(scores, float("-inf")))
        # Paddle's `softmax` and `exp` of minus infinity are not 0 (docs/differences.md, softmax_floor).
        terms = paddle.exp(scores - scores.detach().max(axis=1, keepdim=True)) * mask
        return terms / terms.sum(axis=1, keepdim=True)

    def named(self, prefix: str) -> dict[str, paddle.Tensor]:
        return {f"{prefix}.weight": self.weight, f"{prefix}.score.weight": self.score}


class PooledHead(nn.Layer):
    """Pooling over real tokens, an optional hidden layer, a linear layer to logits."""

    def __init__(
        self,
        head: spec.PoolingHead,
        features: int,
        dtype: str,
        implementation: str,
        models: int | None = None,
    ):
        """Create the layers for F = `features`. With `models`, every weight is [models, ...]."""
        super().__init__()
        self.fast = implementation == "fast"
        self.poolings = fused(joined(head.pooling)) if self.fast else joined(head.pooling)
        self.rate = head.dropout
        self.activation = ACTIVATIONS[head.activation]
        size = head.pooled_size(features)
        self.attention = Attention(features, dtype, models) if head.pooling == "attention" else None
        self.hidden = None if head.hidden_size is None else Linear(size, head.hidden_size, dtype, models)
        self.output = Linear(head.hidden_size or size, head.outputs, dtype, models)

    def forward(self, encoded: Encoded, inputs: Inputs, dropout: Dropout) -> dict[str, paddle.Tensor]:
        """Return `pooled` [B, P], optionally `head.hidden` [B, F'], and `logits` [B, outputs].

        With attention its weights `head.attention` [B, L] come first.
        """
        found = {}
        if self.attention is not None:
            block = encoded.blocks[0]
            weights = self.attention(block.values, block.windows.mask)
            found["head.attention"] = weights[:, :, 0]
            pooled = [(weights * block.values).sum(axis=1)]
        else:
            pooled = [
                self.pool(pooling, block, encoded.forward_columns, inputs)
                for block in encoded.blocks
                for pooling in self.poolings
            ]
        pooled = pooled[0] if len(pooled) == 1 else paddle.concat(pooled, axis=-1)
        found["pooled"] = ACTIVATIONS[encoded.activation](pooled)
        features = dropout(found["pooled"], "head.pooled", self.rate)
        if self.hidden is not None:
            found["head.hidden"] = self.activation(self.hidden(features))
            features = dropout(found["head.hidden"], "head.hidden", self.rate)
        found["logits"] = self.output(features)
        return found

    def pool(self, pooling: str, block: Block, split: int, inputs: Inputs) -> paddle.Tensor:
        """Pool [B, L, F] to [B, P] over valid positions.

        The first `split` features are forward ones. A block that the encoder pooled is returned as it is.
        """
        x = block.values
        if block.pooled:
            return x
        if self.fast and pooling in POOLINGS:
            return PoolFunction.apply(x, inputs.lengths, pooling)
        if pooling == "mean":
            return x.sum(axis=1) / block.windows.counts
        if pooling == "max":
            # By index, so that the first of several equal maxima gets the gradient. The backward passes of Paddle's
            # `max` and `amax` also take a hundred times as long.
            with paddle.no_grad():
                lowest = paddle.full_like(x, float("-inf"))
                position = paddle.where(block.windows.mask > 0, x, lowest).argmax(axis=1)  # [B, F]
                columns = paddle.arange(x.shape[-1])
                flat = (inputs.first[:, None] + position) * x.shape[-1] + columns
            return x.reshape([-1]).gather(flat.reshape([-1])).reshape(flat.shape)
        rows = x.reshape([-1, x.shape[-1]])
        if pooling == "ends":
            ends = rows.gather(inputs.first, axis=0), rows.gather(inputs.last, axis=0)
            return paddle.concat(ends, axis=-1)
        forward = rows.gather(inputs.last, axis=0)[:, :split]
        reverse = rows.gather(inputs.first, axis=0)[:, split:]
        return paddle.concat([forward, reverse], axis=-1)

    def named(self) -> dict[str, paddle.Tensor]:
        attention = {} if self.attention is None else self.attention.named("head.attention")
        hidden = {} if self.hidden is None else self.hidden.named("head.hidden")
        return {**attention, **hidden, **self.output.named("head")}

    def losses(self, outputs: dict[str, paddle.Tensor], inputs: Inputs, weights: paddle.Tensor | None) -> paddle.Tensor:
        """Return [B]: cross-entropies of logits [B, C], binary ones of a single logit [B, 1].

        Class weights `weights` [C] multiply the losses; that of a text without a label, -1, is 0
        (`core/models/heads/pooled.py`).
        """
        logits, labels = outputs["logits"], inputs.targets["label"]
        known, labels = (labels >= 0).astype(logits.dtype), labels.clip(min=0)
        if logits.shape[1] == 1:
            # In Paddle 3.3, the gradient of `binary_cross_entropy_with_logits` is wrong at a logit of exactly 0
            # (docs/differences.md, zero_logit).
            logits = paddle.concat([paddle.zeros_like(logits), logits], axis=1)
        found = F.nll_loss(log_probabilities_of(logits), labels, reduction="none")
        # The functions' `weight` argument is not used, as their mean divides by the sum of weights.
        return found * (known if weights is None else known * weights[labels])

    def right(self, outputs: dict[str, paddle.Tensor], inputs: Inputs) -> paddle.Tensor:
        """Return 1 for correct predictions, 0 for others, [B] int64."""
        logits, labels = outputs["logits"], inputs.targets["label"]
        predicted = (logits[:, 0] > 0).astype(labels.dtype) if logits.shape[1] == 1 else logits.argmax(axis=1)
        return (predicted == labels).astype("int64")


def log_probabilities_of(logits: paddle.Tensor) -> paddle.Tensor:
    """Return the log-softmax of logits [N, C].

    Paddle's `log_softmax` and `cross_entropy` clip log-probabilities at -64, even in float64, and `cross_entropy` of
    Paddle 2.6 checks the labels on the host in each call.
    """
    shifted = logits - logits.detach().max(axis=1, keepdim=True)
    return shifted - shifted.exp().sum(axis=1, keepdim=True).log()


def class_weights(training: spec.Training, device) -> paddle.Tensor | None:
    """Return class weights [C] in the model's dtype, None for an unweighted loss.

    Raises ValueError for `balanced`.
    """
    weights = weights_of(training.class_weights)
    return None if weights is None else to_tensor(weights.astype(training.array_dtype), device)
