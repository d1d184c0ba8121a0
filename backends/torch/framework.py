"""Imports torch and settles what is set for the whole process. Everything else takes `torch` from here."""

from __future__ import annotations

import torch

# float32 means float32: cuDNN's recurrent layers would otherwise use TF32's 10-bit mantissa.
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
