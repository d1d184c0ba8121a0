"""Bringing weights from elsewhere: from a state dict's names and shapes to seqtwin's neutral names, and back.

What is understood: one embedding, one recurrent layer (`torch.nn.RNN`, `GRU`, `LSTM`; `paddle.nn.SimpleRNN`, `GRU`,
`LSTM`; any number of layers, one or both directions) or a TextCNN's convolutions (`core/weights/recognise_textcnn.py`),
and a linear head with at most one hidden layer.

| in the file | here |
|---|---|
| `EMB.weight` [V, E]; E is the width of `weight_ih_l0` | `embedding.weight`, row 0 (PAD) set to zero |
| `RNN.weight_ih_l{k}`, `weight_hh`, `bias_ih`, `bias_hh`, with `_reverse`: both frameworks' layout | `encoder....` |
| `RNN.{k}.cell...`, `cell_fw`, `cell_bw`: Paddle's second name of the same array | the same, checked to be equal |
| linear layers from F = H * directions to the classes: [out, in], in Paddle's files [in, out] | `head.hidden`, `head` |

The cell follows from the shape of `weight_hh_l0` [G * H, H]: G is 1 (SRN), 3 (GRU) or 4 (LSTM). Gate order is the same
everywhere (i, f, g, o; r, z, n), so recurrent arrays are copied as they are. In code:

    torch, paddle = backends.load("torch"), backends.load("paddle")
    port = place(torch.read_state("model.pt"), torch.LINEAR_LAYOUT)  # a Port: model, arrays, what was assumed
    engine = paddle.Engine(port.model, Training(), port.arrays, "cpu", "builtin")
    paddle.write_state("model.pdparams", to_state(port, port.modules, paddle.LINEAR_LAYOUT))
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.errors import UserError
from core.models.model import Model, parameter_table
from core.spec.experiment import Experiment, replace
from core.weights.paddle_files import layer_name
from core.weights.recognise import Part, find_embedding, find_head, find_recurrent, join
from core.weights.recognise_textcnn import find_convolutions, find_tables, has_convolutions, in_layout_of
from core.weights.state_dict import StateDict

NEUTRAL_MODULES = {name: name for name in ("embedding", "encoder", "head.hidden", "head")}
"""The module of each part under neutral names."""

WRAPPERS = ("module.", "_orig_mod.")
"""What data-parallel wrappers and compilers put before every name."""


@dataclass(frozen=True)
class Choices:
    """What the weights leave open. Names are modules of the file, needed only where it is ambiguous."""

    pooling: str | None = None
    activation: str | None = None
    embedding: str | None = None
    encoder: str | None = None
    hidden: str | None = None
    head: str | None = None
    encoder_activation: str | None = None
    """Of a TextCNN."""


@dataclass(frozen=True)
class Row:
    """One array: its neutral name and shape, and name and shape in the file (empty for zeros that stand for a bias)."""

    neutral: str
    shape: tuple[int, ...]
    source: str
    source_shape: tuple[int, ...]


@dataclass(frozen=True)
class Port:
    """A classifier found in a state dict. `arrays` hold the model's dtype, under neutral names, [out, in], PAD zero."""

    model: Model
    arrays: dict[str, np.ndarray]
    pad_row: np.ndarray
    """[E]: what row 0 of the embedding held."""
    modules: dict[str, str]
    """The file's name of each module that the model has, by the neutral one; of a TextCNN one for each kernel."""
    rows: list[Row]
    duplicates: dict[str, str]
    """Second names, and the first name of each."""
    unplaced: dict[str, str]
    """Arrays that have no place here: if the model computes with them, this is another model."""
    left_out: dict[str, str]
    """What else the file held, such as an optimiser's state."""
    notes: list[str]
    assumed: list[str]


def convert(state: StateDict, layout: str, choices: Choices | None = None) -> Port:
    """Find the classifier in a state dict. `layout` of its linear weights: `out_in` or `in_out`.

    Raises UserError, one line that names the file and the array, for anything that would make another model of it: a
    gap, a wrong shape, a second encoder, a projection, linear layers that form no chain.
    """
    choices, where = choices or Choices(), state.where
    left, notes = _unwrapped(state.arrays)

    def without(part: Part) -> dict[str, np.ndarray]:
        return {name: array for name, array in left.items() if name not in part.used}

    every = left
    recurrent = any(map(layer_name, left)) or not has_convolutions(left)
    if recurrent:
        encoder = find_recurrent(left, where, choices.encoder)
    else:
        encoder = find_convolutions(left, where, choices.encoder, choices.encoder_activation)
    left = without(encoder)
    find_words = find_embedding if recurrent else find_tables
    embedding = find_words(left, where, encoder.changes["model.embedding.dim"], choices.embedding)
    left = without(embedding)
    head = find_head(left, where, encoder.features, layout, state.ordered, choices.hidden, choices.head)
    left = without(head)

    parts = (embedding, encoder, head)
    changes, arrays, sources, modules = {}, {}, {}, {}
    for part in parts:
        changes |= part.changes
        arrays |= part.arrays
        sources |= part.sources
        modules |= part.modules
    changes |= embedding.changes  # it knows of two tables, each half as wide as what the encoder reads
    assumed = [line for part in parts for line in part.assumed]
    for field, value in (("pooling", choices.pooling), ("activation", choices.activation)):
        if value is not None:
            changes[f"model.head.{field}"] = value
    model = replace(Experiment(), changes, where).model
    if choices.pooling is None:
        assumed.append(f"{model.head.pooling} pooling: no weight tells (`pooling` last, mean or max)")
    if choices.activation is None and model.head.hidden_size is not None:
        assumed.append(f"{model.head.activation} after {modules['head.hidden']}: no weight tells (`activation`)")
    if model.head.one_logit:
        assumed.append(f"{modules['head']} has one output: the logit of class 1 of two")
    for name, source in sources.items():
        if not np.isfinite(arrays[name]).all():
            raise UserError(f"{where}: {source} holds NaN or infinity: nothing can be proven of it")
    dtype = np.result_type(*arrays.values())
    if any(array.dtype != dtype for array in arrays.values()):
        notes.append("arrays in float32 and in float64: all widened to float64")
    # Copies, C-contiguous: what was read may be a view of the file, or transposed.
    arrays = {row.name: np.array(arrays[row.name], dtype=dtype, order="C") for row in parameter_table(model)}
    pad_row = arrays["embedding.weight"][0].copy()
    for table in (row.name for row in parameter_table(model) if row.looked_up):
        if arrays[table][0].any():
            assumed.append(
                f"id 0 is padding, its word vector zero: row 0 of {sources[table]} is not (largest entry"
                f" {np.abs(arrays[table][0]).max():.3g}); a model that reads id 0 as a word computes something else"
            )
        arrays[table][0] = 0.0
    shapes = {name: every[source].shape for name, source in sources.items()}
    unplaced = {name: f"{array.dtype.name} {list(array.shape)}" for name, array in left.items()}
    return Port(
        model=model,
        arrays=arrays,
        pad_row=pad_row,
        modules=modules,
        rows=[Row(name, array.shape, sources.get(name, ""), shapes.get(name, ())) for name, array in arrays.items()],
        duplicates=encoder.duplicates,
        unplaced=unplaced,
        left_out=state.left_out,
        notes=[*state.notes, *notes],
        assumed=assumed,
    )


def _unwrapped(arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays without a wrapper's prefix, where every name has it, and what to say of that."""
    notes = []
    while wrapper := next((w for w in WRAPPERS if arrays and all(name.startswith(w) for name in arrays)), None):
        arrays = {name.removeprefix(wrapper): array for name, array in arrays.items()}
        notes.append(f"{wrapper} was taken off every name")
    return arrays, notes


def to_state(port: Port, modules: dict[str, str], layout: str) -> dict[str, np.ndarray]:
    """The arrays as a class of a framework's own layers names and lays them out, row 0 of the embedding as found."""
    found, shapes = {}, {row.neutral: row.source_shape for row in port.rows}
    for name, array in port.arrays.items():
        module, _, leaf = name.rpartition(".")
        if module == "embedding":
            array = np.concatenate([port.pad_row[None], array[1:]])
        elif module.startswith("head") and array.ndim == 2 and layout == "in_out":
            array = array.T
        elif array.ndim == 3:
            array = in_layout_of(array, shapes[name])
        found[join(modules[module], leaf)] = np.ascontiguousarray(array)
    return found


def difference(one: Port, other: Port, with_pad_row: bool = True) -> str | None:
    """The first thing in which two ports are not the same, bit for bit; None if there is none."""
    if one.model != other.model:
        return "the model"
    pairs = {name: (array, other.arrays[name]) for name, array in one.arrays.items()}
    if with_pad_row:
        pairs["row 0 of the embedding"] = (one.pad_row, other.pad_row)
    for name, (here, there) in pairs.items():
        if here.dtype != there.dtype or here.tobytes() != there.tobytes():
            return name
    return None
