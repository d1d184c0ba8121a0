"""Imports torch and settles what is set for the whole process. Everything else takes `torch` from here."""

from __future__ import annotations

import torch

from core.engine.tf32 import forbid_tf32

# float32 means float32: cuDNN's recurrent layers, which the last line is about, would otherwise use TF32's 10 bits.
forbid_tf32()
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
