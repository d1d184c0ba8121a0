"""PaddlePaddle's answer to `core/contract.py`. Laid out file by file like `backends/torch`."""

from backends.paddle.engine import Engine
from backends.paddle.ensemble import Ensemble
from backends.paddle.layer_probe import NATIVE, LayerProbe
from backends.paddle.runtime import NAME, build, gpus, resolve_device, versions
from backends.paddle.state_files import LINEAR_LAYOUT, read_state, write_state
from backends.paddle.world import join

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
