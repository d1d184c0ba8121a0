"""TF32 switch of the process.

GPUs of compute capability 8.0 or above can multiply float32 with 10 instead of 23 bits of precision.
"""

from __future__ import annotations

import os

from core.errors import UserError

TF32_FROM = (8, 0)
"""Minimum compute capability."""


TF32_DTYPES = ("tf32", "bfloat16")
"""Spec dtypes for which a GPU uses TF32, which represents every bfloat16.

Older GPUs use float32.
"""


TF32_VARIABLE = "NVIDIA_TF32_OVERRIDE"
"""Environment variable of cuBLAS and cuDNN; 0 disables TF32, whatever a program requests.

It is the only switch that affects Paddle's recurrent layers.
"""


def dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


_tf32: bool | None = None
"""True if this process uses TF32 on GPUs, None while undecided."""


def forbid_tf32() -> None:
    """Disable TF32, whatever the environment sets; to be called before importing a framework."""
    if not _tf32:
        os.environ[TF32_VARIABLE] = "0"


def settle_tf32(dtype: str, device: str) -> bool:
    """Decide whether this process uses TF32, for a spec dtype and a device of `resolve`.

    Sets NVIDIA's environment variable; a CPU changes nothing. Raises UserError for dtype tf32 on a CPU, and if this
    process already used a GPU with the other setting: NVIDIA's libraries read the variable once.
    """
    global _tf32
    wanted = dtype in TF32_DTYPES
    if device == "cpu":
        check_cpu(dtype, "")
        return bool(_tf32)
    if _tf32 not in (None, wanted):
        used = "with" if _tf32 else "without"
        raise UserError(
            f"dtype {dtype}: this process already used a GPU {used} TF32, which cannot be changed: start a new process"
        )
    _tf32 = wanted
    if wanted:
        os.environ.pop(TF32_VARIABLE, None)
    else:
        os.environ[TF32_VARIABLE] = "0"
    return wanted


def check_cpu(dtype: str, reasons: str) -> None:
    """Raise UserError for dtype tf32 on a CPU; `reasons`: why no GPU is used."""
    if dtype == "tf32":
        why = f" ({reasons})" if reasons else ""
        needs = f"a GPU of compute capability {dotted(TF32_FROM)} or above"
        raise UserError(f"dtype tf32: a CPU has no TF32{why}: use `training.dtype` float32, or {needs}")
