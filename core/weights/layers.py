"""Recognition of single layers in a state dict, and their arrays under the names and layout of each framework.

| kind | arrays | torch | Paddle |
|---|---|---|---|
| Linear | `weight`, `bias` | [out, in] | [in, out] |
| Embedding | `weight` [V, E] | | the same |
| RNN, GRU, LSTM | `weight_ih_l0`, ... | | the same, biases always |
| RNNCell, GRUCell, LSTMCell | `weight_ih`, ... | | the same, biases always |
| Conv1D | `weight` [C, I, k], `bias` | | the same |
| LayerNorm | `weight`, `bias` [D] | | the same |
| BatchNorm1D | `weight`, `bias` [D], mean and variance | `running_mean`, `running_var` | `_mean`, `_variance` |
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from core.errors import UserError
from core.weights.convert import WRAPPERS, unwrapped
from core.weights.finders import PROJECTION, Arrays, check_finite, find_recurrent, join
from core.weights.finders_head import SHOWN_LAYOUT
from core.weights.paddle_files import is_cell_name, layer_name
from core.weights.reparametrized import folded
from core.weights.state_dict import StateDict

KINDS = {"srn": "RNN", "gru": "GRU", "lstm": "LSTM"}
STATISTICS = {"out_in": ("running_mean", "running_var"), "in_out": ("_mean", "_variance")}
"""Names of mean and variance of BatchNorm1D by the layout of linear layers."""
EMBEDDING = re.compile(r"emb|word|token|char|vocab|lookup|lut$|wte", re.IGNORECASE)
LINEAR = re.compile(r"linear|fc|proj|dense|out|head|query|key|value|classif|attn|atten", re.IGNORECASE)


@dataclass(frozen=True)
class Layer:
    """One layer. `arrays` by leaf name in the layout [out, in], with torch's names; biases of RNNs may be zeros.

    `written` are those of the arrays that the file has.
    """

    name: str
    kind: str
    arrays: Arrays
    written: frozenset[str]
    note: str = ""

    def state(self, layout: str, complete: bool) -> Arrays:
        """Return the arrays under the names and in the layout of a framework.

        `complete` adds the zero biases that the file lacks, as Paddle's recurrent layers need biases.
        """
        found = {}
        for leaf, array in self.arrays.items():
            if complete or leaf in self.written:
                place = STATISTICS["out_in"].index(leaf) if leaf in STATISTICS["out_in"] else None
                name = leaf if place is None else STATISTICS[layout][place]
                turned = self.kind == "Linear" and array.ndim == 2 and layout == "in_out"
                # A copy, as PyTorch warns about memory of a file, which it cannot write.
                found[name] = np.array(array.T if turned else array, order="C")
        return found

    @property
    def shapes(self) -> str:
        """Describe the shapes of the weights in one line."""
        shapes = [list(array.shape) for leaf, array in self.arrays.items() if leaf.startswith("weight")]
        rest = f" and {len(shapes) - 2} more" if len(shapes) > 2 else ""
        return ", ".join(map(str, shapes[:2])) + rest


@dataclass
class Layers:
    """All layers of a state dict; `unplaced` arrays belong to no layer that is known, by name."""

    found: list[Layer] = field(default_factory=list)
    unplaced: Arrays = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_layers(state: StateDict, layout: str, embeddings: tuple[str, ...] = ()) -> Layers:
    """Return the layers of a state dict whose linear weights have `layout`.

    `embeddings` names matrices without a bias that are embeddings. Raises UserError for reparametrized weights.
    """
    arrays, notes = unwrapped(state.arrays, WRAPPERS[:2])
    arrays, more = folded(arrays, state.where)
    layers = Layers(notes=[*state.notes, *notes, *more])
    left = _take_recurrent(layers, arrays, state.where)
    modules: dict[str, Arrays] = {}
    for name, array in left.items():
        module, _, leaf = name.rpartition(".")
        modules.setdefault(module, {})[leaf] = array
    for module, own in modules.items():
        layer = _layer(module, own, layout, module in embeddings)
        used = set() if layer is None else set(own)
        if layer is not None:
            layers.found.append(layer)
        for leaf, array in own.items():
            if leaf in used:
                check_finite(array, join(module, leaf), state.where)
            else:
                layers.unplaced[join(module, leaf)] = array
                layers.reasons[join(module, leaf)] = f"{array.dtype.name} {list(array.shape)}"
    layers.reasons |= state.unread
    first: dict[str, int] = {}
    known = {layer.name for layer in layers.found}
    for place, name in enumerate(arrays):
        for module in _above(name):
            if module in known:
                first.setdefault(module, place)
    layers.found.sort(key=lambda layer: first[layer.name])
    return layers


def _above(name: str) -> Iterator[str]:
    """Yield the modules that contain an array, the innermost first and the top level last."""
    while name:
        name = name.rpartition(".")[0]
        yield name


def _take_recurrent(layers: Layers, arrays: Arrays, where: str) -> Arrays:
    """Add the recurrent layers; return the other arrays, also those of recurrent layers of an unknown form."""
    used: set[str] = set()
    for module, candidates in _recurrent(arrays).items():
        try:
            part = find_recurrent(candidates, where, module)
        except UserError as error:
            layers.notes.append(f"{module or 'top level'}: {str(error).removeprefix(f'{where}: ')}")
            continue
        kind = KINDS[part.changes["model.encoder.cell"]]
        own = {name.removeprefix("encoder."): array for name, array in part.arrays.items()}
        written = {name.removeprefix("encoder.") for name in part.sources}
        if all(is_cell_name(source) for source in part.sources.values()):
            kind += "Cell"
            own = {name.removesuffix("_l0"): array for name, array in own.items()}
            written = {name.removesuffix("_l0") for name in written}
        missing = "zeros for the biases that the file lacks" if len(written) < len(own) else ""
        layers.found.append(Layer(module, kind, own, frozenset(written), missing))
        for source in part.sources.values():
            check_finite(arrays[source], source, where)
        used |= part.used
    return {name: array for name, array in arrays.items() if name not in used}


def _recurrent(arrays: Arrays) -> dict[str, Arrays]:
    """Return the arrays of every recurrent layer by module, with the projections in or below it."""
    found: dict[str, Arrays] = {}
    for name, array in arrays.items():
        if known := layer_name(name):
            found.setdefault(known.rpartition(".")[0], {})[name] = array
    for name, array in arrays.items():
        if PROJECTION.search(name):
            for module in _above(name):
                if module in found:
                    found[module][name] = array
    return found


def _layer(module: str, own: Arrays, layout: str, embedding: bool) -> Layer | None:
    """Return the layer of a module's arrays by leaf name, None if they are not exactly those of a known kind."""
    statistics = next((names for names in STATISTICS.values() if set(names) <= set(own)), None)
    renamed = dict(own)
    if statistics is not None:
        renamed = {
            dict(zip(statistics, STATISTICS["out_in"], strict=True)).get(leaf, leaf): a for leaf, a in own.items()
        }
    weight, bias = own.get("weight"), own.get("bias")
    vectors = all(array.ndim == 1 for array in own.values()) and len({array.shape for array in own.values()}) == 1
    if statistics is not None:
        same = vectors and set(renamed) == {"weight", "bias", *STATISTICS["out_in"]}
        return Layer(module, "BatchNorm1D", renamed, frozenset(renamed)) if same else None
    if weight is None or set(own) - {"weight", "bias"} or weight.size == 0:
        return None
    if vectors and bias is not None:
        return Layer(module, "LayerNorm", own, frozenset(own), "LayerNorm by its shapes")
    if weight.ndim == 3 and (bias is None or bias.shape == weight.shape[:1]):
        return Layer(module, "Conv1D", own, frozenset(own))
    return _matrix(module, own, layout, embedding) if weight.ndim == 2 else None


def _matrix(module: str, own: Arrays, layout: str, embedding: bool) -> Layer | None:
    """Return the linear layer or embedding of a matrix; its bias tells the layout unless it is square."""
    weight, bias = own["weight"], own.get("bias")
    rows, columns = weight.shape
    if bias is None:
        if embedding or EMBEDDING.search(module):
            return Layer(module, "Embedding", own, frozenset(own))
        if not LINEAR.search(module):
            return None
        note = f"layout {SHOWN_LAYOUT[layout]} assumed: it has no bias"
    elif bias.shape not in ((rows,), (columns,)):
        return None
    elif rows == columns:
        note = f"layout {SHOWN_LAYOUT[layout]} assumed: it is square"
    else:
        found = "out_in" if bias.shape == (rows,) else "in_out"
        note = "" if found == layout else f"layout {SHOWN_LAYOUT[found]}, by its bias"
        layout = found
    arrays = {**own, "weight": weight if layout == "out_in" else weight.T}
    return Layer(module, "Linear", arrays, frozenset(own), note)


def random_input(layer: Layer, rng: np.random.Generator) -> np.ndarray:
    """Return random input of a layer: float64, for an embedding int64."""
    weight = layer.arrays["weight"] if "weight" in layer.arrays else next(iter(layer.arrays.values()))
    if layer.kind == "Embedding":
        return rng.integers(0, len(weight), (4, 7))
    if layer.kind == "Conv1D":
        return rng.normal(size=(4, weight.shape[1], weight.shape[2] + 5))
    width = len(weight) if weight.ndim == 1 else weight.shape[1]
    return rng.normal(size=(4, 7, width) if layer.kind in KINDS.values() else (4, width))


def all_arrays(layers: Layers, layout: str) -> Arrays:
    """Return the converted state dict with full names; arrays without a place are unchanged."""
    complete = layout == "in_out"
    found = {
        join(layer.name, leaf): array for layer in layers.found for leaf, array in layer.state(layout, complete).items()
    }
    return found | {name: np.array(array) for name, array in layers.unplaced.items()}
