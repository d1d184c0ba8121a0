"""Recognition of modules in a state dict: recurrent layer and embedding.

Each finder receives the remaining arrays by name and returns the module it recognized. Ambiguous cases raise a
UserError that names the option to give.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.errors import UserError
from core.models.encoders.recurrent import FRAMEWORK_CELLS, GATES, direction_suffixes
from core.weights.paddle_files import is_cell_name, layer_name
from core.weights.state_dict import listed

Arrays = dict[str, np.ndarray]
PROJECTION = re.compile(r"weight_hr_l|weight_ho$")
"""Names of arrays of a projection."""
CELLS = {GATES[cell]: cell for cell in FRAMEWORK_CELLS}


@dataclass
class Part:
    """A recognized module. Keys are neutral names; linear arrays are [out, in]."""

    arrays: Arrays = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    """Names in the file; no entry for a missing bias, which is zero."""
    modules: dict[str, str] = field(default_factory=dict)
    duplicates: dict[str, str] = field(default_factory=dict)
    """Second names of arrays in the file, with their first names."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Spec fields by dotted path."""
    assumed: list[str] = field(default_factory=list)
    features: int = 0
    """Number of output features of an encoder."""

    def take(self, neutral: str, source: str, array: np.ndarray) -> None:
        self.arrays[neutral], self.sources[neutral] = array, source

    @property
    def used(self) -> set[str]:
        return {*self.sources.values(), *self.duplicates}


def join(module: str, leaf: str) -> str:
    return f"{module}.{leaf}" if module else leaf


def shown(name: str, array: np.ndarray) -> str:
    return f"{name} {list(array.shape)}"


def find_recurrent(arrays: Arrays, where: str, wanted: str | None) -> Part:
    """Find the recurrent layers of all directions.

    `wanted` names the module if there are several.
    """
    module, leaves, duplicates = _choose_recurrent(arrays, where, wanted)
    at = f"{where}: {join(module, '')}"
    for name in arrays:
        if name.startswith(join(module, "")) and PROJECTION.search(name):
            raise UserError(f"{where}: {name} is a projection, not supported: build the layer without proj_size")
    for leaf in ("weight_hh_l0", "weight_ih_l0"):
        if leaf not in leaves:
            raise UserError(f"{at}{leaf} is missing: save all arrays of the layer (got {_some(leaves)})")
        if arrays[leaves[leaf]].ndim != 2:
            raise UserError(f"{where}: got {shown(leaves[leaf], arrays[leaves[leaf]])}, expected a matrix")
    rows, hidden = arrays[leaves["weight_hh_l0"]].shape
    if hidden == 0 or rows % hidden or rows // hidden not in CELLS:
        raise UserError(
            f"{where}: {leaves['weight_hh_l0']} {[rows, hidden]} fits no cell: for {hidden} units, expected {hidden}"
            f" rows (SRN), {3 * hidden} (GRU) or {4 * hidden} (LSTM)"
        )
    cell, dtype = CELLS[rows // hidden], arrays[leaves["weight_hh_l0"]].dtype
    both = any(leaf.endswith("_reverse") for leaf in leaves)
    layers = 1 + max(int(leaf.removesuffix("_reverse").rpartition("_l")[2]) for leaf in leaves)
    inputs = arrays[leaves["weight_ih_l0"]].shape[1]
    absent = [kind for kind in ("bias_ih", "bias_hh") if not any(leaf.startswith(kind) for leaf in leaves)]
    part = Part(modules={"encoder": module}, duplicates=duplicates)
    part.changes = {
        "model.encoder.cell": cell,
        "model.encoder.hidden_size": hidden,
        "model.encoder.num_layers": layers,
        "model.encoder.bidirectional": both,
        "model.embedding.dim": inputs,
    }
    # A name can claim any number of layers, so this generator must not be turned into a list.
    for layer, suffix in ((layer, suffix) for layer in range(layers) for suffix in direction_suffixes(both)):
        width = inputs if layer == 0 else hidden * (1 + both)
        shapes = {"weight_ih": (rows, width), "weight_hh": (rows, hidden), "bias_ih": (rows,), "bias_hh": (rows,)}
        for kind, shape in shapes.items():
            leaf = f"{kind}_l{layer}{suffix}"
            if kind in absent:
                part.arrays[f"encoder.{leaf}"] = np.zeros(shape, dtype)
                continue
            if leaf not in leaves:
                raise UserError(f"{at}{leaf} is missing: save all arrays of the layer (got {_some(leaves)})")
            array = arrays[leaves[leaf]]
            if array.shape != shape:
                raise UserError(f"{where}: got {shown(leaves[leaf], array)}, expected shape {list(shape)}")
            part.take(f"encoder.{leaf}", leaves[leaf], array)
    part.features = hidden * (1 + both)
    if absent:
        part.assumed.append(
            f"zeros for {' and '.join(absent)}, which {module or 'the encoder'} lacks; build it with biases"
        )
    if is_cell_name(leaves["weight_hh_l0"]):
        part.assumed.append(
            f"{module or 'the top level'} is a cell that runs over each text from its first to its last token; it is"
            f" written as a layer of that name"
        )
    if cell == "srn":
        part.assumed.append(f"tanh in {module or 'the encoder'}, which the weights do not determine")
    return part


def check_finite(array: np.ndarray, name: str, where: str) -> None:
    """Raise UserError if an array that a model takes has NaN or infinity. `name` is that in the file."""
    if not np.isfinite(array).all():
        raise UserError(f"{where}: {name} contains NaN or infinity: give finite weights")


def _some(leaves: dict[str, str]) -> str:
    return f"{', '.join([*leaves][:3])}, ..."


def _choose_recurrent(arrays: Arrays, where: str, wanted: str | None) -> tuple[str, dict[str, str], dict[str, str]]:
    """Return the module, its array names in the file by `weight_ih_l0`, ..., and second names."""
    found: dict[str, dict[str, str]] = {}
    duplicates: dict[str, dict[str, str]] = {}
    # Names of the layer come before names of its cells, which are used only if the former are absent.
    for name in sorted(arrays, key=lambda name: layer_name(name) != name):
        if (known := layer_name(name)) is None:
            continue
        module, _, leaf = known.rpartition(".")
        first = found.setdefault(module, {}).setdefault(leaf, name)
        if first != name:
            if arrays[first].shape != arrays[name].shape or arrays[first].tobytes() != arrays[name].tobytes():
                raise UserError(
                    f"{where}: {first} and {name} are names of one array in Paddle, but their values differ: save the"
                    f" model again"
                )
            duplicates.setdefault(module, {})[name] = first
    if not found:
        raise UserError(
            f"{where}: no recurrent layer among the float arrays, expected a name like lstm.weight_ih_l0: give another"
            f" file"
        )
    choices = listed([module or "(the top)" for module in found])
    if wanted is not None and wanted not in found:
        raise UserError(f"`encoder` {wanted}: no recurrent layer of that name in {where}: choose one of {choices}")
    if wanted is None and len(found) > 1:
        raise UserError(f"{where}: several recurrent layers, {choices}: choose one with `encoder` NAME")
    module = wanted if wanted is not None else next(iter(found))
    return module, found[module], duplicates.get(module, {})


def find_embedding(arrays: Arrays, where: str, inputs: int, wanted: str | None) -> Part:
    """Find the embedding: a matrix with `inputs` columns and no bias."""
    found = [
        name.rpartition(".")[0]
        for name, array in arrays.items()
        if name.rpartition(".")[2] == "weight"
        and array.ndim == 2
        and array.shape[1] == inputs
        and name.removesuffix("weight") + "bias" not in arrays
    ]
    choices = listed(found)
    if wanted is not None:
        module = wanted.removesuffix(".weight")
        if module not in found:
            raise UserError(
                f"`embedding` {wanted}: no embedding of that name with {inputs} columns: choose one of"
                f" {choices or 'none'}"
            )
    else:
        named = [module for module in found if "emb" in module.lower()]
        best = named if len(named) == 1 else found
        if not best:
            raise UserError(
                f"{where}: no embedding, expected a weight without a bias and with {inputs} columns, the encoder's"
                f" input size: give another file"
            )
        if len(best) > 1:
            raise UserError(f"{where}: several possible embeddings, {choices}: choose one with `embedding` NAME")
        (module,) = best
    source = join(module, "weight")
    part = Part(modules={"embedding": module}, changes={"model.embedding.vocab_size": len(arrays[source])})
    part.take("embedding.weight", source, arrays[source])
    return part
