"""ONNX nodes of the heads and of the linear model of n-grams, after their NumPy references in `core/models`."""

from __future__ import annotations

from typing import NamedTuple

from core.export.encoders import Block
from core.export.graph import Graph
from core.export.sequences import Sequences
from core.models.exported import BIAS, SUMS, VALUES
from core.models.heads import PooledHead, TokenHead
from core.models.heads.pooling import ATTENTION, joined
from core.models.types import Arrays


class Features(NamedTuple):
    """The output of an encoder (`core.models.encoders.encoder.Encoded`)."""

    blocks: list[Block]
    forward_columns: int
    activation: str


def pooled_logits(graph: Graph, head: PooledHead, arrays: Arrays, features: Features, given: Sequences) -> str:
    """Return the logits [B, outputs] of a classifier of texts."""
    if head.pooling == "attention":
        found = _attended(graph, arrays, features.blocks[0], given)
    else:
        parts = [
            pool(graph, pooling, block, features.forward_columns, given)
            for block in features.blocks
            for pooling in joined(head.pooling)
        ]
        found = parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=-1)
    x = graph.activated(features.activation, found)
    return _linear_layers(graph, head, arrays, x)


def token_logits(graph: Graph, head: TokenHead, arrays: Arrays, features: Features, given: Sequences) -> str:
    """Return the logits [B, L, C] of a tagger, zero at padding."""
    parts = [block.values for block in features.blocks]
    x = graph.activated(features.activation, parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=-1))
    return graph.masked(given.mask(), _linear_layers(graph, head, arrays, x))


def _linear_layers(graph: Graph, head: PooledHead | TokenHead, arrays: Arrays, x: str) -> str:
    """Apply the optional hidden layer and the output layer at the last axis."""
    if head.hidden_size is not None:
        hidden = graph.product(x, "head.hidden", arrays["head.hidden.weight"], arrays["head.hidden.bias"])
        x = graph.activated(head.activation, hidden)
    return graph.product(x, "head", arrays["head.weight"], arrays["head.bias"])


def pool(graph: Graph, pooling: str, block: Block, split: int, given: Sequences) -> str:
    """Pool a block [B, L, F] over its valid windows to [B, F] or [B, 2F].

    The first `split` features are those of the forward direction.
    """
    time, x = graph.constant([1]), block.values
    if pooling == "mean":
        counts = graph.op("Cast", given.counts(block.width), to=graph.onnx.TensorProto.FLOAT)
        return graph.op("Div", graph.op("ReduceSum", x, time, keepdims=0), counts)
    if pooling == "max":
        return graph.op("ReduceMax", graph.masked(given.mask(block.width), x, float("-inf")), time, keepdims=0)
    first = graph.op("Gather", x, graph.constant(0), axis=1)
    last = graph.op("ReduceSum", graph.masked(given.at_last(), x), time, keepdims=0)
    if pooling == "last":
        end, axis = graph.constant([1 << 30]), graph.constant([1])
        last = graph.op("Slice", last, graph.constant([0]), graph.constant([split]), axis)
        first = graph.op("Slice", first, graph.constant([split]), end, axis)
        return graph.op("Concat", last, first, axis=-1)
    return graph.op("Concat", first, last, axis=-1)


def _attended(graph: Graph, arrays: Arrays, block: Block, given: Sequences) -> str:
    """Return the mean [B, F] weighted by a softmax over the real tokens."""
    time, mask = graph.constant([1]), given.mask(block.width)
    inner = graph.op("Tanh", graph.product(block.values, ATTENTION, arrays[f"{ATTENTION}.weight"]))
    scores = graph.product(inner, f"{ATTENTION}.score", arrays[f"{ATTENTION}.score.weight"])
    scores = graph.masked(mask, scores, float("-inf"))
    weights = graph.op("Softmax", scores, axis=1)
    return graph.op("ReduceSum", graph.op("Mul", weights, block.values), time, keepdims=0)


def ngram_logits(graph: Graph, tables: Arrays, outputs: int) -> str:
    """Return the logits [B, outputs] of the linear model of n-grams (`core.export.ngram_tables.tables_of`).

    The input `ngrams` [B, M] holds the distinct n-grams of each text, in any order, padded with 0.
    """
    columns, last = len(tables[BIAS]), graph.constant([1])
    found = graph.op("Gather", graph.array(SUMS, tables[SUMS]), graph.input("ngrams", ("batch", "ngrams")))
    sums = graph.op("ReduceSum", found, last, keepdims=0)  # [B, 2K]
    squares, weights = graph.ops("Split", 2, sums, graph.constant([columns, columns]), axis=1)
    # A text without n-grams has a sum of weights of 0 and of squares of 0.
    some = graph.op("Greater", squares, graph.floating(0.0))
    scaled = graph.op("Div", weights, graph.op("Sqrt", graph.op("Where", some, squares, graph.floating(1.0))))
    z = graph.op("Add", scaled, graph.array(BIAS, tables[BIAS]))
    if columns == outputs:
        return z
    return graph.op("Mul", z, graph.constant([-0.5, 0.5], "float32"))


def ngram_values(graph: Graph, tables: Arrays, orders: int, given: Sequences) -> str:
    """Return the values of the n-grams [B, L, orders * K] that are joined to the word vectors.

    The input `ngram_ends` [B, L, orders] holds the n-grams that end at each token, 0 if unknown.
    """
    ends = graph.input("ngram_ends", ("batch", "length", orders))
    found = graph.op("Gather", graph.array(VALUES, tables[VALUES]), ends)  # [B, L, orders, K]
    flat = graph.op("Reshape", found, graph.constant([0, 0, orders * tables[VALUES].shape[1]]))
    return graph.masked(given.mask(), flat)


def probabilities(graph: Graph, logits: str, outputs: int) -> str:
    """Return the probabilities of the classes, for a single logit z of both: the softmax of [0, z]."""
    if outputs == 1:
        zeros = graph.op("Mul", logits, graph.floating(0.0))
        logits = graph.op("Concat", zeros, logits, axis=-1)
    return graph.op("Softmax", logits, axis=-1)
