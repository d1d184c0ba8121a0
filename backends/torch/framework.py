"""Import of torch with its process-wide settings.

All other modules import `torch` from here.
"""

from __future__ import annotations

import inspect
import os

from core.engine.openmp import limit_spinning
from core.engine.tf32 import forbid_tf32

limit_spinning(os.environ)  # before the import, which reads it

import torch  # noqa: E402

# cuDNN's recurrent layers would otherwise use TF32, with 10 bits, for float32.
forbid_tf32()
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False


class _EagerAdam(torch.optim.Adam):
    """The framework's Adam without its wrappers for `torch.compile`.

    They import the compiler, which takes more than a second of CPU time.
    """

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)

    @torch.no_grad()
    def step(self) -> None:
        inspect.unwrap(torch.optim.Adam.step)(self)
