"""Training passes of compiled recurrent layers: the addresses of arrays that either framework owns."""

from __future__ import annotations

import functools
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from backends import kernels
from backends.kernels import arguments
from core.models.encoders.recurrent import WEIGHT_KINDS, LayerSizes

PLACES = {name: getattr(kernels.Problem, name).offset // 8 for name, _ in kernels.Problem._fields_}
"""Places of the fields of `Problem`, all of which take 8 bytes."""
SIZE = kernels.PROBLEM_BYTES // 8
"""Number of places of a problem."""
LENGTHS, X, OUTPUT, SAVED, THREADS = (PLACES[name] for name in ("lengths", "x", "output", "saved", "threads"))
NEEDED = frozenset(("x", "output", *WEIGHT_KINDS))
"""Arrays of a pass that must not be None."""
BAD_LENGTH = 3


class Entry(NamedTuple):
    """An array of a pass."""

    name: str
    place: int
    shape: arguments.Shape
    needed: bool
    """Whether it must not be None."""


class Layout(NamedTuple):
    """What all passes of a stack of layers over batches of one shape share."""

    block: array[int]
    """The problems of the layers with their sizes, and no addresses."""
    lengths: arguments.Shape
    inputs: list[Entry]
    """x, `h_0` and `c_0` of the first layer, then the weights by layer, direction and kind."""
    outputs: list[Entry]
    """`output` of every layer, then `h_n` and `c_n` of the last."""
    d_outputs: list[Entry]
    """`d_output`, `d_h_n` and `d_c_n` of the last layer."""
    d_inputs: list[Entry]
    """Gradients of `inputs`, in their order."""

    output_shapes: list[arguments.Shape | None]
    """Shapes of `outputs`; None for an array that the cell does not have."""


@functools.lru_cache(maxsize=256)
def layout(layers: tuple[LayerSizes, ...], shape: arguments.Shape, float64: bool) -> Layout:
    """Return the layout for x of `shape` [B, L, I]. Raises ValueError as `arguments.layer_shapes`."""
    found = Layout(array("q", bytes(kernels.PROBLEM_BYTES * len(layers))), shape[:1], [], [], [], [], [])
    weights, d_weights = [], []
    for number, sizes in enumerate(layers):
        shapes = arguments.layer_shapes(sizes, shape)
        batch, width, inputs = shape
        models, first = sizes.models or 1, number * SIZE
        numbers = (kernels.CELLS[sizes.cell], int(float64), sizes.directions, 0)
        numbers += (models, batch // models, width, inputs, sizes.hidden)
        found.block[first : first + len(numbers)] = array("q", numbers)
        entry = functools.partial(_entry, shapes, first, f"_l{number}" if len(layers) > 1 else "")
        if number == 0:
            found.inputs.extend(map(entry, ("x", "h_0", "c_0")))
            found.d_inputs.extend(map(entry, ("d_x", "d_h_0", "d_c_0")))
        for direction in range(sizes.directions):
            weights.extend(entry(kind, direction) for kind in WEIGHT_KINDS)
            d_weights.extend(entry(f"d_{kind}", direction) for kind in WEIGHT_KINDS)
        found.outputs.append(entry("output"))
        if number == len(layers) - 1:
            found.outputs.extend(map(entry, ("h_n", "c_n")))
            found.d_outputs.extend(map(entry, ("d_output", "d_h_n", "d_c_n")))
        shape = shapes["output"]
    found.output_shapes.extend(None if own.shape is arguments.UNKNOWN else own.shape for own in found.outputs)
    found.inputs.extend(weights)
    found.d_inputs.extend(d_weights)
    return found


def _entry(shapes: dict[str, arguments.Shape], first: int, suffix: str, name: str, direction: int = 0) -> Entry:
    """Return the array `name` of the layer whose problem begins at the place `first`."""
    shape = shapes.get(name, arguments.UNKNOWN)
    return Entry(name + suffix, first + PLACES[name] + direction, shape, name in NEEDED)


class Pass:
    """A stack of layers over one batch: `forward`, then at most one `backward`.

    Each layer reads the output of the layer below; initial and final states are those of a single layer. Arrays are
    given in the order of `Layout`, None for a missing one. They are NumPy arrays or tensors; an integer is the address
    of an array that the caller created for this pass, which needs no check. The caller keeps them alive until the last
    pass. Raises TypeError or ValueError for an array of another dtype or shape, on another device, or not C-contiguous.
    """

    _kept = False

    def __init__(self, layers: tuple[LayerSizes, ...], shape: Sequence[int], float64: bool):
        """Set the sizes; `shape` of x: [B, L, I], with the sequences of all models, model by model.

        Raises ValueError as `arguments.layer_shapes`.
        """
        self.layout = layout(layers, tuple(shape), float64)
        self._firsts = range(0, SIZE * len(layers), SIZE)
        self._dtype = "float64" if float64 else "float32"
        self._block = self.layout.block[:]  # in place of a structure, whose fields take longer to set

    @property
    def problem(self) -> kernels.Problem:
        """The problem of the first layer, in the memory of this pass."""
        return kernels.Problem.from_buffer(self._block)

    def forward(
        self,
        keep: bool,
        lengths: arguments.Array,
        inputs: Sequence[arguments.Array | None],
        outputs: Sequence[arguments.Array | None],
    ) -> None:
        """Write `outputs`, of which only the output of every layer is necessary.

        `lengths`: [B] int64, 1 <= length <= L, copied for `backward`; `keep`: store the gates for `backward`.
        """
        block, shape = self._block, self.layout.lengths
        place, threads = arguments.address("lengths", lengths, shape, "int64"), kernels.threads()
        for first in self._firsts:
            block[first + LENGTHS] = place
            block[first + THREADS] = threads
        self.point(inputs, outputs)
        if keep:
            # Stored here: at interpreter exit, names of this module may be deleted before the last pass.
            self._give_back, self._kept = kernels.function("seqtwin_give_back"), True
        address, _ = block.buffer_info()
        if kernels.run("seqtwin_start_layers", address, len(self._firsts), keep) == BAD_LENGTH:
            width = self.layout.inputs[0].shape[1]
            arguments.integers("lengths", lengths, shape, "int64", range(1, width + 1))
            raise ValueError(f"lengths: got other values during the call, expected 1 to {width}")

    def point(self, inputs: Sequence[arguments.Array | None], outputs: Sequence[arguments.Array | None]) -> None:
        """Set the addresses of the arrays of `forward`; before `backward` only if they moved."""
        block = self._block
        self._point(self.layout.inputs, inputs)
        self._point(self.layout.outputs, outputs)
        for first in self._firsts[1:]:
            block[first + X] = block[first - SIZE + OUTPUT]

    def backward(
        self, d_outputs: Sequence[arguments.Array | None], d_inputs: Sequence[arguments.Array | int | None]
    ) -> None:
        """Write the gradients that are given. Raises RuntimeError in a second call.

        The first call overwrites the stored gates.
        """
        if not self._kept:
            raise RuntimeError("second backward pass: the fast implementation stores its gates for one pass only")
        self._point(self.layout.d_outputs, d_outputs)
        self._point(self.layout.d_inputs, d_inputs)
        try:
            kernels.run("seqtwin_backward_layers", self._block.buffer_info()[0], len(self._firsts))
        finally:
            self.close()

    def close(self) -> None:
        """Release the memory for `backward`."""
        if self._kept:
            self._kept, block = False, self._block
            for first in self._firsts:
                saved, block[first + SAVED] = block[first + SAVED], 0
                if saved:
                    self._give_back(saved)

    __del__ = close

    def _point(self, entries: list[Entry], arrays: Sequence[arguments.Array | int | None]) -> None:
        """Check arrays and set their addresses."""
        block, dtype, count = self._block, self._dtype, len(arrays)
        if count != len(entries):
            name = entries[count].name if count < len(entries) else "arrays"
            raise ValueError(f"{name}: got {count} arrays, expected {len(entries)}")
        for (name, place, shape, needed), given in zip(entries, arrays, strict=True):
            if type(given) is int:
                block[place] = given
            elif given is not None or needed:
                block[place] = arguments.address(name, given, shape, dtype)
