"""Logits that the user's own model computed, and the texts that they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from core.batch import pad
from core.errors import UserError
from core.weights.budget import Budget
from core.weights.npz_files import read_arrays
from core.weights.state_dict import read_bytes

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
"""Largest difference, relative to the largest logit, by precision of the witness."""
LEAST_SPREAD = 1000
"""Smallest difference of logits between texts, in tolerances: a model that ignores its input would fit anything."""
TEXTS, LONGEST = 16, 12


@dataclass(frozen=True)
class Witness:
    """Texts and the logits that the user's own model computed.

    `ids` [B, L] int64, `lengths` [B] int64, `logits` [B, C] float64; `where` names the source.
    """

    ids: np.ndarray
    lengths: np.ndarray
    logits: np.ndarray
    where: str

    @cached_property
    def precision(self) -> str:
        """Return `float32` if all logits are float32 numbers, also where they are stored as float64."""
        narrow = self.logits.astype(np.float32).astype(np.float64)
        return "float32" if np.array_equal(narrow, self.logits) else "float64"

    @property
    def padded(self) -> bool:
        return bool((self.lengths < self.ids.shape[1]).any())


def read_witness(path: Path) -> Witness:
    """Read `ids` [B, L], `lengths` [B] (optional) and `logits` [B, C] of an `.npz` file. Raises UserError."""
    try:
        data = read_bytes(path)
        arrays = read_arrays(data, Budget(str(path), len(data)), ("ids", "lengths", "logits"))
    except UserError:
        raise
    except Exception as error:  # a damaged file can raise any exception
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise UserError(f"{path}: cannot be read as .npz ({reason}): save it with numpy.savez") from None
    for name in ("ids", "logits"):
        if name not in arrays:
            raise UserError(f"{path}: no array {name}: expected ids [B, L], lengths [B] and logits [B, C]")
    ids, logits = arrays["ids"], arrays["logits"]
    lengths = arrays.get("lengths")
    if lengths is None and ids.ndim == 2:
        lengths = np.full(len(ids), ids.shape[1])
    return check_witness(ids, lengths, logits, str(path))


def check_witness(ids: np.ndarray, lengths: np.ndarray | None, logits: np.ndarray, where: str) -> Witness:
    """Return a witness of checked arrays. Raises UserError naming the wrong array."""
    if ids.ndim != 2 or ids.size == 0 or ids.dtype.kind not in "iu":
        raise UserError(f"{where}: got ids {ids.dtype} {list(ids.shape)}, expected integers [B, L]")
    rows, width = ids.shape
    if lengths is None or lengths.shape != (rows,) or lengths.dtype.kind not in "iu":
        raise UserError(f"{where}: expected integer lengths [{rows}], one per row of ids")
    if lengths.min() < 1 or lengths.max() > width:
        raise UserError(f"{where}: got lengths {lengths.min()} to {lengths.max()}, expected 1 to {width}")
    if logits.dtype.name not in TOLERANCE:
        raise UserError(f"{where}: got logits of dtype {logits.dtype}, expected float32 or float64")
    if logits.ndim == 1:
        logits = logits[:, None]
    if logits.ndim != 2 or len(logits) != rows:
        raise UserError(f"{where}: got logits {list(logits.shape)}, expected [{rows}, C], one row per text")
    if not np.isfinite(logits).all():
        raise UserError(f"{where}: logits contain NaN or infinity: give finite logits")
    witness = Witness(ids.astype(np.int64), lengths.astype(np.int64), logits.astype(np.float64), where)
    spread = float(np.ptp(witness.logits, axis=0).max())
    if spread <= LEAST_SPREAD * TOLERANCE[witness.precision] * np.abs(witness.logits).max():
        raise UserError(f"{where}: logits differ by at most {spread:.1e} between {rows} texts: give other texts")
    return witness


def random_texts(vocab_size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return ids [B, L] without PAD inside a text, and lengths [B] from 1 to L, the longest first.

    Some versions of `pack_padded_sequence` require sorted lengths.
    """
    lengths = np.sort(np.concatenate([[1, LONGEST], rng.integers(1, LONGEST + 1, TEXTS - 2)]))[::-1]
    batch = pad([rng.integers(1, vocab_size, length) for length in lengths], {})
    return batch.ids, batch.lengths
