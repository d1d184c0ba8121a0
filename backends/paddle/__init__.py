"""The Paddle backend (`core/engine/contract.py`), with the same files as `backends/torch`."""

from backends.paddle.engine import Engine
from backends.paddle.ensemble import Ensemble
from backends.paddle.export import write_model
from backends.paddle.layers import layer_output
from backends.paddle.probe import NATIVE, LayerProbe
from backends.paddle.processes import init_process_group
from backends.paddle.runtime import NAME, build, gpus, preferred_on_gpu, resolve_device, versions
from backends.paddle.user_module import load_module, module_logits, owns
from backends.paddle.weight_files import LINEAR_LAYOUT, read_state, write_state
from backends.paddle.words import WordEngine

__all__ = [
    "LINEAR_LAYOUT",
    "NAME",
    "NATIVE",
    "Engine",
    "Ensemble",
    "LayerProbe",
    "WordEngine",
    "build",
    "gpus",
    "init_process_group",
    "layer_output",
    "load_module",
    "module_logits",
    "owns",
    "preferred_on_gpu",
    "read_state",
    "resolve_device",
    "versions",
    "write_model",
    "write_state",
]
