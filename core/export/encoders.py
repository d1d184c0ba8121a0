"""ONNX nodes of the embedding and of the encoders, after their NumPy references in `core/models`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from core.export.graph import Graph
from core.export.sequences import Sequences
from core.models.bigrams import FACTORS
from core.models.embedding import BIGRAM_TABLE, Embedding
from core.models.encoders import BagEncoder, RecurrentEncoder, TextCNNEncoder
from core.models.encoders.recurrent import DirectionWeights, layer_weights
from core.models.types import Arrays

ORDER = {"srn": (0,), "gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}
"""Gate blocks of a cell in ONNX's order: GRU z, r, h; LSTM i, o, f, c."""
OPERATORS = {"srn": "RNN", "gru": "GRU", "lstm": "LSTM"}


class Block(NamedTuple):
    """Features [B, L, F], zero where no window of `width` tokens is valid."""

    values: str
    width: int


class Layer(NamedTuple):
    """One recurrent layer: its number, cell, state size, and the weights of each direction."""

    number: int
    cell: str
    hidden: int
    sides: list[DirectionWeights]


def embedded(graph: Graph, embedding: Embedding, arrays: Arrays, given: Sequences) -> str:
    """Return the word vectors [B, L, E], zero at padding."""
    parts = []
    for row in embedding.parameters():
        table = arrays[row.name].copy()
        table[0] = 0.0
        ids = _bigram_ids(graph, given.ids, embedding.bigrams) if row.name == BIGRAM_TABLE else given.ids
        parts.append(graph.rows(row.name, table, ids))
    x = parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=-1)
    return graph.masked(given.mask(), x)


def _bigram_ids(graph: Graph, ids: str, rows: int) -> str:
    """Return the bigram ids (`core/models/bigrams.py`); those of padding are masked later.

    ONNX has no shifts of int64: `x >> 15` is a division. Products stay below 2^63, as ids are below 2^31.
    """
    padded = graph.op("Pad", ids, graph.constant([0, 1, 0, 0]), graph.constant(0))
    before = graph.op("Slice", padded, *map(graph.constant, ([0], [-1], [1])))
    terms = [graph.op("Mul", own, graph.constant(factor)) for own, factor in zip((before, ids), FACTORS, strict=True)]
    mixed = graph.op("Mod", graph.op("Add", *terms), graph.constant(1 << 32))
    mixed = graph.op("BitwiseXor", mixed, graph.op("Div", mixed, graph.constant(1 << 15)))
    return graph.op("Add", graph.op("Mod", mixed, graph.constant(rows - 1)), graph.constant(1))


def recurrent(graph: Graph, encoder: RecurrentEncoder, arrays: Arrays, x: str, given: Sequences) -> list[Block]:
    """Return the output of the last layer [B, L, H * directions]."""
    layer_of = _residual_layer if encoder.cell == "residual_srn" else _built_in_layer
    for number in range(encoder.num_layers):
        layer = Layer(number, encoder.cell, encoder.hidden_size, layer_weights(encoder, arrays, number))
        found = layer_of(graph, layer, graph.rounded(x), given)
        x = graph.op("Add", found, x) if encoder.residual and number > 0 else found
    return [Block(x, 1)]


def _built_in_layer(graph: Graph, layer: Layer, x: str, given: Sequences) -> str:
    """Apply ONNX's operator, whose `sequence_lens` bound both directions."""
    order, hidden, sides = ORDER[layer.cell], layer.hidden, layer.sides
    blocks = len(order)

    def gates(values: np.ndarray) -> np.ndarray:
        return values.reshape(blocks, hidden, *values.shape[1:])[list(order)].reshape(values.shape)

    def joined(kind: str) -> str:
        values = np.concatenate([gates(getattr(own, kind)) for own in sides])
        shape = graph.constant([len(sides), blocks * hidden, values.shape[1]])
        return graph.op("Reshape", graph.matrix(f"encoder.{kind}_l{layer.number}", values), shape)

    bias = np.stack([np.concatenate([gates(own.bias_ih), gates(own.bias_hh)]) for own in sides])
    weights = joined("weight_ih"), joined("weight_hh"), graph.array(f"encoder.bias_l{layer.number}", bias)
    settings: dict[str, Any] = {"linear_before_reset": 1} if layer.cell == "gru" else {}
    settings |= {"hidden_size": hidden, "direction": "bidirectional" if len(sides) == 2 else "forward"}
    turned = graph.op("Transpose", x, perm=[1, 0, 2])
    found = graph.op(OPERATORS[layer.cell], turned, *weights, given.short_lengths, **settings)  # [L, D, B, H]
    turned = graph.op("Transpose", found, perm=[2, 0, 1, 3])
    joint = graph.op("Reshape", turned, graph.constant([0, 0, len(sides) * hidden]))
    return graph.masked(given.mask(), joint)


def _residual_layer(graph: Graph, layer: Layer, x: str, given: Sequences) -> str:
    """Apply h' = h + tanh(W x + U h + b), for which ONNX has no operator, in a loop over time (`Scan`).

    The reverse direction iterates from the right; at padding the state is not updated.
    """
    helper, kinds = graph.onnx.helper, graph.onnx.TensorProto
    mask = graph.op("Transpose", given.mask(), perm=[1, 0, 2])
    start = graph.op("Expand", graph.floating(0.0), given.shape_of_states(layer.hidden))
    outputs = []
    for side, own in enumerate(layer.sides):
        name = f"encoder.weight_{{}}_l{layer.number}.{side}"
        terms = graph.product(x, name.format("ih"), own.weight_ih, own.bias_ih + own.bias_hh)
        terms = graph.op("Transpose", terms, perm=[1, 0, 2])
        weight = graph.op("Transpose", graph.matrix(name.format("hh"), own.weight_hh), perm=[1, 0])
        node = helper.make_node
        body = helper.make_graph(
            [
                node("MatMul", ["h", weight], ["recurrent"]),
                node("Add", ["recurrent", "term"], ["sum"]),
                node("Tanh", ["sum"], ["step"]),
                node("Add", ["h", "step"], ["new"]),
                node("Where", ["real", "new", "h"], ["kept"]),
                node("Where", ["real", "new", graph.floating(0.0)], ["output"]),
            ],
            "step",
            [helper.make_tensor_value_info(own, kinds.FLOAT, None) for own in ("h", "term")]
            + [helper.make_tensor_value_info("real", kinds.BOOL, None)],
            [helper.make_tensor_value_info(own, kinds.FLOAT, None) for own in ("kept", "output")],
        )
        way = {"scan_input_directions": [side, side], "scan_output_directions": [side]}
        outputs.append(graph.ops("Scan", 2, start, terms, mask, body=body, num_scan_inputs=2, **way)[1])
    joint = outputs[0] if len(outputs) == 1 else graph.op("Concat", *outputs, axis=-1)
    return graph.op("Transpose", joint, perm=[1, 0, 2])


def textcnn(graph: Graph, encoder: TextCNNEncoder, arrays: Arrays, x: str, given: Sequences) -> list[Block]:
    """Return the windows of every kernel, [B, L, C_j], zero at windows that are not valid."""
    turned, blocks = graph.op("Transpose", graph.rounded(x), perm=[0, 2, 1]), []
    for number, width in enumerate(encoder.kernels):
        name, before = f"encoder.conv{number}", encoder.context(width)
        padding = graph.constant([0, 0, before, 0, 0, width - 1 - before])
        padded = graph.op("Pad", turned, padding, graph.floating(0.0))
        weights = graph.matrix(f"{name}.weight", arrays[f"{name}.weight"])
        found = graph.op("Conv", padded, weights, graph.array(f"{name}.bias", arrays[f"{name}.bias"]))
        own = encoder.window(width)
        blocks.append(Block(graph.masked(given.mask(own), graph.op("Transpose", found, perm=[0, 2, 1])), own))
    return blocks


def bag(graph: Graph, encoder: BagEncoder, arrays: Arrays, x: str, given: Sequences) -> list[Block]:
    """Return the word vectors themselves."""
    return [Block(x, 1)]


ENCODERS: dict[str, Callable[..., list[Block]]] = {"recurrent": recurrent, "textcnn": textcnn, "none": bag}
"""Functions by the kind of the encoder."""
