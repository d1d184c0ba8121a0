"""Faults of a classifier's pooling."""

from __future__ import annotations

from types import ModuleType

from core.parity.faults.fault import Fault, Patches, padding_as_real


def _mean_over_padded_length(side: ModuleType) -> Patches:
    head = side.heads.pooled.PooledHead
    original = head.pool

    def pool(self, pooling, block, split, inputs):
        return original(self, pooling, block, split, inputs) * block.windows.mask.sum(axis=1) / block.values.shape[1]

    return [(head, "pool", pool)]


def _ends_of_padded_rows(side: ModuleType) -> Patches:
    head = side.heads.pooled.PooledHead
    original = head.pool
    patches, seen = padding_as_real(side)

    def pool(self, pooling, block, split, inputs):
        return original(self, pooling, block, split, seen["inputs"])

    return [*patches, (head, "pool", pool)]


def _mean_before_max(side: ModuleType) -> Patches:
    head = side.heads.pooled.PooledHead
    original = head.__init__

    def __init__(self, *arguments):
        original(self, *arguments)
        # `fast` has both in one name.
        self.poolings = tuple(own for pooling in self.poolings for own in pooling.split("_"))[::-1]

    return [(head, "__init__", __init__)]


def _last_output_for_state(side: ModuleType) -> Patches:
    head = side.heads.pooled.PooledHead
    original = head.pool

    def pool(self, pooling, block, split, inputs):
        if pooling != "last":
            return original(self, pooling, block, split, inputs)
        return original(self, "ends", block, split, inputs)[:, block.values.shape[-1] :]

    return [(head, "pool", pool)]


def _attention_over_padding(side: ModuleType) -> Patches:
    attention = side.heads.pooled.Attention
    original = attention.forward
    return [(attention, "forward", lambda self, x, mask: original(self, x, mask * 0.0 + 1.0))]


FAULTS = {
    "mean-over-padded-length": Fault(
        "mean pooling divides by the padded length",
        1,
        "pooled",
        _mean_over_padded_length,
        {"model.head.pooling": "mean"},
    ),
    "ends-of-padded-rows": Fault(
        "`ends` pooling reads the last column instead of the last real token",
        1,
        "pooled",
        _ends_of_padded_rows,
        {"model.head.pooling": "ends"},
    ),
    "mean-before-max": Fault(
        "`max_mean` pooling puts the means before the maxima",
        1,
        "pooled",
        _mean_before_max,
        {"model.head.pooling": "max_mean"},
    ),
    "last-output-for-last-state": Fault(
        "`last_max_mean` pooling reads the reverse output at the last token, which has seen one token only",
        1,
        "pooled",
        _last_output_for_state,
        {"model.head.pooling": "last_max_mean"},
    ),
    "attention-pools-padding": Fault(
        "attention pooling gives weights to padding",
        1,
        "head.attention",
        _attention_over_padding,
        {"model.head.pooling": "attention"},
    ),
}
