"""Import of torch with its process-wide settings.

All other modules import `torch` from here.
"""

from __future__ import annotations

import torch

from core.engine.tf32 import forbid_tf32

# cuDNN's recurrent layers would otherwise use TF32, with 10 bits, for float32.
forbid_tf32()
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
