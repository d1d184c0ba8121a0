"""The network of a run as an ONNX graph, for a timing of ONNX Runtime next to our own evaluators.

It is the graph that one would write by hand: embedding, ONNX's own recurrent layers with lengths, pooling, logits.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from core.batch import Batch
from core.errors import UserError
from core.models.embedding import TABLE
from core.models.encoders import RecurrentEncoder
from core.models.encoders.recurrent import DirectionWeights, layer_weights
from core.models.heads import PooledHead
from core.models.heads.pooled import joined
from core.models.model import Model
from core.models.types import Arrays

OPERATORS = {"lstm": "LSTM", "gru": "GRU", "srn": "RNN"}
GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "srn": (0,)}
"""Our gate blocks in ONNX's order: LSTM i, o, f, c; GRU z, r, h."""
POOLINGS = ("max", "mean", "max_mean")
OPSET = 17


class OnnxEngine:
    """A classifier in ONNX Runtime, float32, on the CPU."""

    def __init__(self, model: Model, parameters: Arrays, threads: int) -> None:
        """Build the graph. Raises UserError for a model that it does not know."""
        onnxruntime = importlib.import_module("onnxruntime")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        graph = graph_of(model, parameters)
        self._session = onnxruntime.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])

    def logits(self, batch: Batch) -> np.ndarray:
        """Return logits [B, outputs] float32."""
        given = {"ids": batch.ids, "lengths": batch.lengths.astype(np.int32)}
        return np.asarray(self._session.run(["logits"], given)[0])


def why_not(model: Model) -> str | None:
    """Return why there is no graph of a model; None if there is."""
    encoder, head, embedding = model.encoder, model.head, model.embedding
    if not isinstance(encoder, RecurrentEncoder) or encoder.cell not in OPERATORS or encoder.residual:
        return f"{encoder.describe()}: expected plain SRN, GRU or LSTM layers"
    if not isinstance(head, PooledHead) or head.pooling not in POOLINGS or head.hidden_size is not None:
        return f"{head.describe()}: expected {', '.join(POOLINGS)} without a hidden layer"
    if embedding.lookup == "scalar" or embedding.static_copy or embedding.bigrams or model.ngrams is not None:
        return "expected one word table, without n-grams"
    return None


def graph_of(model: Model, parameters: Arrays) -> bytes:
    """Return the graph as the content of an ONNX file: ids [B, L] and lengths [B] int32 to logits [B, outputs].

    Raises UserError for a model that it does not know.
    """
    onnx = importlib.import_module("onnx")
    helper, numpy_helper, types = onnx.helper, onnx.numpy_helper, onnx.TensorProto
    if (reason := why_not(model)) is not None:
        raise UserError(f"no ONNX graph for {reason}")
    encoder, head = model.encoder, model.head
    assert isinstance(encoder, RecurrentEncoder) and isinstance(head, PooledHead)
    table = parameters[TABLE].astype(np.float32, copy=True)
    table[0] = 0.0
    arrays: dict[str, np.ndarray] = {
        "table": table,
        "head.weight": parameters["head.weight"].astype(np.float32),
        "head.bias": parameters["head.bias"].astype(np.float32),
        "joined": np.array([0, 0, -1], np.int64),
        "one": np.array(1, np.int64),
        "zero": np.array(0, np.int64),
        "axis 0": np.array([0], np.int64),
        "axis 1": np.array([1], np.int64),
        "axis 2": np.array([2], np.int64),
        "lowest": np.array(np.finfo(np.float32).min, np.float32),
    }
    nodes: list[Any] = []

    def node(kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    x = node("Transpose", [node("Gather", ["table", "ids"], "words")], "x", perm=[1, 0, 2])
    for layer in range(encoder.num_layers):
        weights = [_in_order(encoder.cell, own) for own in layer_weights(encoder, parameters, layer)]
        names = [f"{kind}{layer}" for kind in ("W", "R", "B")]
        arrays |= {name: np.stack(own) for name, own in zip(names, zip(*weights, strict=True), strict=True)}
        more = {"linear_before_reset": 1} if encoder.cell == "gru" else {}
        direction = "bidirectional" if encoder.bidirectional else "forward"
        own = {"hidden_size": encoder.hidden_size, "direction": direction, **more}
        y = node(OPERATORS[encoder.cell], [x, *names, "lengths"], f"y{layer}", **own)  # [L, D, B, H]
        x = node("Reshape", [node("Transpose", [y], f"t{layer}", perm=[0, 2, 1, 3]), "joined"], f"x{layer}")
    width = node("Gather", [node("Shape", ["ids"], "shape"), "one"], "width")
    time = node("Unsqueeze", [node("Range", ["zero", width, "one"], "range"), "axis 1"], "time")
    count = node("Cast", ["lengths"], "count", to=types.INT64)
    parts = []
    for pooling in joined(head.pooling):
        if pooling == "max":
            real = node("Less", [time, node("Unsqueeze", [count, "axis 0"], "counts")], "real")
            mask = node("Unsqueeze", [real, "axis 2"], "mask")
            parts.append(node("ReduceMax", [node("Where", [mask, x, "lowest"], "masked")], "max", axes=[0], keepdims=0))
        else:
            total = node("ReduceSum", [x, "axis 0"], "total", keepdims=0)
            size = node("Cast", [node("Unsqueeze", [count, "axis 1"], "column")], "size", to=types.FLOAT)
            parts.append(node("Div", [total, size], "mean"))
    pooled = node("Concat", parts, "pooled", axis=1)
    node("Gemm", [pooled, "head.weight", "head.bias"], "logits", transB=1)
    graph = helper.make_graph(
        nodes,
        "seqtwin",
        [
            helper.make_tensor_value_info("ids", types.INT64, ["B", "L"]),
            helper.make_tensor_value_info("lengths", types.INT32, ["B"]),
        ],
        [helper.make_tensor_value_info("logits", types.FLOAT, ["B", head.outputs])],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in arrays.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def _in_order(cell: str, own: DirectionWeights) -> tuple[np.ndarray, ...]:
    """Return W [G*H, I], R [G*H, H] and both biases [2*G*H] of a direction, in ONNX's order of gates."""
    order = list(GATES[cell])
    blocks = [np.asarray(array, np.float32).reshape(len(order), -1, *array.shape[1:])[order] for array in own]
    weight_ih, weight_hh, bias_ih, bias_hh = (block.reshape(-1, *block.shape[2:]) for block in blocks)
    return weight_ih, weight_hh, np.concatenate([bias_ih, bias_hh])
