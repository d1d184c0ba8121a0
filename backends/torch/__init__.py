"""PyTorch's answer to `core/contract.py`. Laid out file by file like `backends/paddle`."""

from backends.torch.engine import Engine
from backends.torch.ensemble import Ensemble
from backends.torch.layer_probe import NATIVE, LayerProbe
from backends.torch.runtime import NAME, build, gpus, resolve_device, versions
from backends.torch.state_files import LINEAR_LAYOUT, read_state, write_state
from backends.torch.world import join

__all__ = [
    "LINEAR_LAYOUT",
    "NAME",
    "NATIVE",
    "Engine",
    "Ensemble",
    "LayerProbe",
    "build",
    "gpus",
    "join",
    "read_state",
    "resolve_device",
    "versions",
    "write_state",
]
