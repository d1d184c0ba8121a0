"""A PyTorch model in the comparison of two models."""

from backends.torch.twin.side import TwinSide

__all__ = ["TwinSide"]
