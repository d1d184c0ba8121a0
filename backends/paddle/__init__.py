"""PaddlePaddle's answer to `core/contract.py`. Laid out file by file like `backends/torch`."""

from backends.paddle.engine import Engine
from backends.paddle.runtime import NAME, resolve_device, versions

__all__ = ["NAME", "Engine", "resolve_device", "versions"]
