"""The torch backend (`core/engine/contract.py`), with the same files as `backends/paddle`."""

from backends.torch.engine import Engine
from backends.torch.ensemble import Ensemble
from backends.torch.export import write_model
from backends.torch.layers import layer_output
from backends.torch.probe import NATIVE, LayerProbe
from backends.torch.processes import init_process_group
from backends.torch.runtime import NAME, build, gpus, preferred_on_gpu, resolve_device, versions
from backends.torch.user_module import load_module, module_logits, owns
from backends.torch.weight_files import LINEAR_LAYOUT, read_state, write_state
from backends.torch.words import WordEngine

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
