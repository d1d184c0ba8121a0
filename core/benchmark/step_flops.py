"""Floating-point operations of a training step."""

from __future__ import annotations

import numpy as np

from core.models.heads.pooling import PoolingHead
from core.models.model import Model
from core.spec.training import Training


def step_flops(model: Model, training: Training, lengths: np.ndarray) -> float:
    """Return the operations of the encoder's matrix products in a training step on texts of `lengths` [B].

    They are those that the step needs, for real tokens without padding: two per multiplication and addition, forward,
    for the gradient of the weights, and for that of the inputs if it trains the embedding. Adversarial training has
    a second pass, at the perturbed word vectors. The virtual one has a pass for its direction, which needs no gradient
    of the weights, and another one. All of these need the gradient of the inputs. Functions of the gates, the
    embedding, head and optimizer are not counted.
    """
    pooling = model.head.pooling if isinstance(model.head, PoolingHead) else None
    own = model.encoder.products(model.encoder_inputs, lengths, pooling)
    whole = sum(own)
    if training.adversarial or training.virtual_adversarial:
        return whole * (1 + bool(training.adversarial)) + bool(training.virtual_adversarial) * (
            2 * whole - own.d_weights
        )
    return whole if any(row.trainable for row in model.embedding.parameters()) else whole - own.d_x
