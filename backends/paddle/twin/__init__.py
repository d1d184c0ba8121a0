"""A Paddle model in the comparison of two models."""

from backends.paddle.twin.side import TwinSide

__all__ = ["TwinSide"]
