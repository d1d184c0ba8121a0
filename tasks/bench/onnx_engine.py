"""A classifier in ONNX Runtime, from the graph that `tasks.export` writes."""

from __future__ import annotations

import importlib

import numpy as np

from core.batch import Batch
from core.export.graph import Graph
from core.export.onnx_model import check_exportable, onnx_model
from core.models.model import Model
from core.models.types import Arrays


class OnnxEngine:
    """A classifier in ONNX Runtime, float32, on the CPU."""

    def __init__(self, model: Model, parameters: Arrays, threads: int) -> None:
        """Build the graph. Raises UserError for a model that cannot be exported, and without onnx."""
        check_exportable(model)
        onnxruntime = importlib.import_module("onnxruntime")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        graph = onnx_model(Graph(), model, parameters, {}, {})
        self._session = onnxruntime.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])

    def logits(self, batch: Batch) -> np.ndarray:
        """Return logits [B, outputs] float32."""
        return np.asarray(self._session.run(["logits"], {"ids": batch.ids, "lengths": batch.lengths})[0])
