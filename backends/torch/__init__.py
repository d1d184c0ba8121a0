"""PyTorch's answer to `core/contract.py`. Laid out file by file like `backends/paddle`."""

from backends.torch.engine import Engine
from backends.torch.runtime import NAME, resolve_device, versions

__all__ = ["NAME", "Engine", "resolve_device", "versions"]
