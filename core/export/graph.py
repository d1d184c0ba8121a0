"""Write an ONNX graph node by node, with `onnx.helper`."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.export.int8 import quantize
from core.export.packages import load
from core.models.precision import round_bfloat16

OPSET = 18
"""ONNX operator set: the first with `BitwiseXor`, which the hash of bigrams needs."""
IR_VERSION = 9
"""Version of the file format: onnxruntime reads it since 1.15."""


class Graph:
    """An ONNX graph under construction; values are referred to by name.

    With `int8`, tables and matrices are stored in 8 bits (`core/export/int8.py`). With `rounds`, the inputs of matrix
    products are rounded to bfloat16, as in training with `training.dtype` bfloat16.
    """

    def __init__(self, int8: bool = False, rounds: bool = False) -> None:
        """Start an empty graph. Raises UserError if onnx is not installed."""
        self.onnx = load("onnx")
        self.int8, self.rounds = int8, rounds
        self.nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._initializers: dict[str, Any] = {}
        self._constants: dict[tuple, str] = {}

    def input(self, name: str, shape: tuple[str | int, ...]) -> str:
        """Declare an int64 input; a string in `shape` names a dynamic axis."""
        self._inputs.append(self.onnx.helper.make_tensor_value_info(name, self.onnx.TensorProto.INT64, shape))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output, and return the name of the output."""
        (name,) = self.ops(kind, 1, *inputs, **attributes)
        return name

    def ops(self, kind: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node, and return the names of its outputs."""
        number = len(self.nodes)
        names = [f"{kind}_{number}" + (f"_{place}" if place else "") for place in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), names, f"{kind}_{number}", **attributes))
        return names

    def array(self, name: str, values: np.ndarray) -> str:
        """Store an array; floating-point values become float32."""
        if name not in self._initializers:
            if values.dtype.kind == "f":
                values = values.astype(np.float32)
            self._initializers[name] = self.onnx.numpy_helper.from_array(np.array(values, order="C"), name)
        return name

    def constant(self, values: Any, dtype: str = "int64") -> str:
        """Store a small constant once, and return its name."""
        array = np.asarray(values, dtype=dtype)
        key = (dtype, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.array(f"constant_{len(self._constants)}", array)
        return self._constants[key]

    def floating(self, value: float) -> str:
        """Store a floating-point number."""
        return self.constant(value, "float32")

    def matrix(self, name: str, values: np.ndarray) -> str:
        """Store a matrix of products [out, ...], in 8 bits with a scale per row if wanted."""
        if self.rounds:
            values = round_bfloat16(values.astype(np.float32))
        if not self.int8:
            return self.array(name, values)
        numbers, scales = quantize(values)
        scale = self.array(f"{name}.scale", scales.reshape(-1, *[1] * (values.ndim - 1)))
        return self._scaled(self.array(f"{name}.int8", numbers), scale)

    def _scaled(self, numbers: str, scale: str) -> str:
        """Return int8 numbers times their scales.

        `DequantizeLinear` would do the same, but onnxruntime then also rounds the other factor of the product to 8
        bits (docs/export.md), and does not compute constant weights once.
        """
        return self.op("Mul", self.op("Cast", numbers, to=self.onnx.TensorProto.FLOAT), scale)

    def rows(self, name: str, values: np.ndarray, ids: str) -> str:
        """Look up the rows of a table [V, E] by ids [...]: [..., E]."""
        if not self.int8:
            return self.op("Gather", self.array(name, values), ids)
        numbers, scales = quantize(values)
        found = self.op("Gather", self.array(f"{name}.int8", numbers), ids)
        return self._scaled(found, self.op("Gather", self.array(f"{name}.scale", scales[:, None]), ids))

    def rounded(self, x: str) -> str:
        """Round an input of a matrix product to bfloat16 if the model does so."""
        if not self.rounds:
            return x
        short = self.op("Cast", x, to=self.onnx.TensorProto.BFLOAT16)
        return self.op("Cast", short, to=self.onnx.TensorProto.FLOAT)

    def product(self, x: str, name: str, values: np.ndarray, bias: np.ndarray | None = None) -> str:
        """Return x W^T, plus a bias of the same name: [..., in] -> [..., out], with W = `values` [out, in]."""
        weight = self.op("Transpose", self.matrix(name, values), perm=[1, 0])
        found = self.op("MatMul", self.rounded(x), weight)
        return found if bias is None else self.op("Add", found, self.array(f"{name}.bias", bias))

    def masked(self, mask: str, x: str, other: float = 0.0) -> str:
        """Return x where the mask is true, elsewhere `other`."""
        return self.op("Where", mask, x, self.floating(other))

    def activated(self, name: str, x: str) -> str:
        """Apply `none`, `tanh` or `relu`."""
        return x if name == "none" else self.op({"tanh": "Tanh", "relu": "Relu"}[name], x)

    def file(self, outputs: dict[str, tuple[str, tuple[str | int, ...]]], note: dict[str, str]) -> bytes:
        """Return the model as the bytes of a file.

        `outputs`: value and shape of every output, by its name; `note`: metadata.
        """
        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        for name, (value, _) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [value], [name], f"output_{name}"))
        shown = [helper.make_tensor_value_info(name, kind, shape) for name, (_, shape) in outputs.items()]
        graph = helper.make_graph(self.nodes, "seqtwin", self._inputs, shown, [*self._initializers.values()])
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="seqtwin"
        )
        helper.set_model_props(model, note)
        self.onnx.checker.check_model(model)
        return model.SerializeToString()
