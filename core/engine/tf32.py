"""TF32: whether a process uses it. GPUs from compute capability 8.0 on can multiply float32 with 10 bits, not 23."""

from __future__ import annotations

import os

from core.errors import UserError

TF32_FROM = (8, 0)
"""Compute capability."""


TF32_DTYPES = ("tf32", "bfloat16")
"""Of a spec, for which a GPU uses TF32: it holds every bfloat16. One without computes bfloat16 in float32."""


TF32_VARIABLE = "NVIDIA_TF32_OVERRIDE"
"""NVIDIA's own, read by cuBLAS and cuDNN: 0 turns TF32 off, whatever a program asks for. Of Paddle's recurrent layers
nothing else does."""


def dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


_tf32: bool | None = None
"""Whether this process uses TF32 on GPUs, once that is settled."""


def forbid_tf32() -> None:
    """Before a framework is imported: float32 means float32, whatever the environment says."""
    if not _tf32:
        os.environ[TF32_VARIABLE] = "0"


def settle_tf32(dtype: str, device: str) -> bool:
    """Whether TF32 is to be on in this process, for a spec's dtype on a device that `resolve` returned; sets NVIDIA's
    variable. A CPU changes nothing.

    Raises UserError on a CPU, which has none, and where this process has used a GPU the other way: NVIDIA's libraries
    read the variable once.
    """
    global _tf32
    wanted = dtype in TF32_DTYPES
    if device == "cpu":
        check_cpu(dtype, "")
        return bool(_tf32)
    if _tf32 not in (None, wanted):
        used = "with" if _tf32 else "without"
        raise UserError(
            f"dtype {dtype}: this process has used a GPU {used} TF32, which cannot be changed: start another"
        )
    _tf32 = wanted
    if wanted:
        os.environ.pop(TF32_VARIABLE, None)
    else:
        os.environ[TF32_VARIABLE] = "0"
    return wanted


def check_cpu(dtype: str, reasons: str) -> None:
    if dtype == "tf32":
        why = f" ({reasons})" if reasons else ""
        needs = f"a GPU of compute capability {dotted(TF32_FROM)} or above"
        raise UserError(f"dtype tf32: a CPU has no TF32{why}: use `training.dtype` float32, or {needs}")
