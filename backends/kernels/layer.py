"""Training passes of a compiled recurrent layer: the addresses of arrays that either framework owns."""

from __future__ import annotations

import functools
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from backends import kernels
from backends.kernels import arguments
from core.models.encoders.recurrent import WEIGHT_KINDS, LayerSizes

NEEDED = dict.fromkeys(("x", "output", *WEIGHT_KINDS))
"""Arrays of a pass that must not be None, as arguments that are."""
WEIGHTS = frozenset((*WEIGHT_KINDS, *(f"d_{kind}" for kind in WEIGHT_KINDS)))
"""Arrays of a pass that are lists, with one for each direction."""
PLACES = {name: getattr(kernels.Problem, name).offset // 8 for name, _ in kernels.Problem._fields_}
"""Places of the fields of `Problem`, all of which take 8 bytes."""
LENGTHS, SAVED, THREADS = PLACES["lengths"], PLACES["saved"], PLACES["threads"]
BAD_LENGTH = 3


class Layout(NamedTuple):
    """What all passes of a layer over batches of one shape share."""

    shapes: dict[str, arguments.Shape]
    """As `arguments.layer_shapes`."""
    arrays: dict[str, tuple[int, arguments.Shape]]
    """First place and shape by name."""
    block: array[int]
    """`Problem` with its sizes, and no addresses."""


@functools.lru_cache(maxsize=256)
def layout(sizes: LayerSizes, shape: arguments.Shape, float64: bool) -> Layout:
    """Return the layout for x of `shape` [B, L, I]. Raises ValueError as `arguments.layer_shapes`."""
    shapes = arguments.layer_shapes(sizes, shape)
    batch, width, inputs = shape
    models = sizes.models or 1
    numbers = (kernels.CELLS[sizes.cell], int(float64), sizes.directions, 0)
    numbers += (models, batch // models, width, inputs, sizes.hidden)
    block = array("q", bytes(kernels.PROBLEM_BYTES))
    block[: len(numbers)] = array("q", numbers)
    return Layout(shapes, {name: (PLACES[name], shape) for name, shape in shapes.items()}, block)


class Pass:
    """One layer over one batch: `forward`, then at most one `backward`.

    Arrays are given by the names of `Problem`: a list for one per direction, None for a missing one. They are NumPy
    arrays or tensors; an integer is the address of an array that the caller created for this pass, which needs no
    check. The caller keeps them alive until the last pass. Raises TypeError or ValueError for an array of another dtype
    or shape, on another device, or not C-contiguous.
    """

    _kept = False

    def __init__(self, sizes: LayerSizes, shape: Sequence[int], float64: bool):
        """Set the sizes; `shape` of x: [B, L, I], with the sequences of all models, model by model.

        Raises ValueError as `arguments.layer_shapes`.
        """
        own = layout(sizes, tuple(shape), float64)
        self.shapes, self._arrays = own.shapes, own.arrays
        self._directions, self._dtype = sizes.directions, "float64" if float64 else "float32"
        self._block = own.block[:]  # in place of a structure, whose fields take longer to set
        self._block[THREADS] = kernels.threads()

    @property
    def problem(self) -> kernels.Problem:
        """The problem of the library, in the memory of this pass."""
        return kernels.Problem.from_buffer(self._block)

    def forward(self, keep: bool, lengths: arguments.Array, **arrays: arguments.Arrays) -> None:
        """Write `output`, and `h_n` and `c_n` if given.

        `lengths`: [B] int64, 1 <= length <= L, copied for `backward`; `keep`: store the gates for `backward`.
        """
        batch, width, _ = self.shapes["x"]
        block = self._block
        block[LENGTHS] = arguments.address("lengths", lengths, (batch,), "int64")
        self._point({**NEEDED, **arrays})
        if keep:
            # Stored here: at interpreter exit, names of this module may be deleted before the last pass.
            self._give_back, self._kept = kernels.function("seqtwin_give_back"), True
        if kernels.run("seqtwin_start", block.buffer_info()[0], keep) == BAD_LENGTH:
            arguments.integers("lengths", lengths, (batch,), "int64", range(1, width + 1))
            raise ValueError(f"lengths: got other values during the call, expected 1 to {width}")

    def backward(self, **arrays: arguments.Arrays) -> None:
        """Write the gradients that are given. Raises RuntimeError in a second call.

        The first call overwrites the stored gates. Arrays of `forward` are given again only if they moved.
        """
        if not self._kept:
            raise RuntimeError("second backward pass: the fast implementation stores its gates for one pass only")
        self._point(arrays)
        try:
            kernels.run("seqtwin_backward", self._block.buffer_info()[0])
        finally:
            self.close()

    def close(self) -> None:
        """Release the memory for `backward`."""
        if self._kept:
            self._kept, saved, self._block[SAVED] = False, self._block[SAVED], 0
            self._give_back(saved)

    __del__ = close

    def _point(self, arrays: dict[str, arguments.Arrays]) -> None:
        """Check arrays and set their addresses."""
        block, known, dtype = self._block, self._arrays, self._dtype
        for name, given in arrays.items():
            place, shape = known.get(name, (0, arguments.UNKNOWN))
            if type(given) is int:
                block[place] = given
            elif name in WEIGHTS:
                for one in arguments.sides(name, given, self._directions):
                    if type(one) is not int:
                        needed = one is not None or name in NEEDED
                        one = arguments.address(name, one, shape, dtype) if needed else 0
                    block[place] = one
                    place += 1
            elif given is not None or name in NEEDED:
                block[place] = arguments.address(name, given, shape, dtype)
            elif place:
                block[place] = 0


def by_direction(prefix: str, weights: Sequence[arguments.Array | None]) -> dict[str, Sequence[arguments.Array | None]]:
    """Return the weights of every direction, given one after the other, by the names of `Problem`."""
    return {prefix + kind: weights[place :: len(WEIGHT_KINDS)] for place, kind in enumerate(WEIGHT_KINDS)}
