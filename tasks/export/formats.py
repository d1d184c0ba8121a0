"""Formats of `python -m tasks.export`, and what each of them needs."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import backends
from core.errors import UserError
from core.export import packages
from core.export.onnx_model import check_exportable
from core.export.script import ONNX, PADDLE, TORCHSCRIPT, Runtime
from core.models.encoders import RecurrentEncoder
from core.models.model import Model, check_network
from core.spec.experiment import Experiment

ONNX_FILE = "model.onnx"


@dataclass(frozen=True)
class Format:
    """One format: how predict.py runs it, and the backend that writes it, None for ONNX."""

    runtime: Runtime
    backend: str | None = None
    int8: bool = False


FORMATS = {
    "onnx": Format(ONNX),
    "torchscript": Format(TORCHSCRIPT, "torch"),
    "paddle": Format(PADDLE, "paddle"),
    "int8": Format(ONNX, int8=True),
}
"""Formats by the value of `--to`."""


def check_format(name: str, experiment: Experiment) -> None:
    """Raise UserError if a format is unknown, cannot express the model, or needs a package that is not installed."""
    if name not in FORMATS:
        raise UserError(f"--to {name}: choose one of {', '.join(FORMATS)}")
    wanted, model = FORMATS[name], experiment.model
    check_exportable(model)
    if wanted.backend is None:
        for package in ("onnx", "onnxruntime"):
            packages.load(package)
    else:
        _check_framework(name, wanted.backend, model, experiment.training.dtype)
    segmented = model.head.kind == "pooled" and experiment.text.tokenizer == "jieba"
    if segmented and importlib.util.find_spec("jieba") is None:
        raise UserError("predict.py needs the package jieba, which is not installed; run: pip install jieba")


def _check_framework(name: str, backend: str, model: Model, dtype: str) -> None:
    """Raise UserError for a model that only ONNX expresses, or if the framework is not installed."""
    check_network(model)
    if isinstance(model.encoder, RecurrentEncoder) and model.encoder.cell == "residual_srn":
        raise UserError(f"--to {name}: no loop over tokens for `model.encoder.cell` residual_srn: use --to onnx")
    if dtype == "bfloat16":
        raise UserError(f"--to {name}: computes in float32, not in `training.dtype` bfloat16: use --to onnx")
    if not backends.installed(backend):
        raise UserError(f"--to {name}: {backend} is not installed; run: {backends.how_to_install(backend)}")
