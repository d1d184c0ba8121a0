"""Conversion of state dicts between the names of other programs and seqtwin's neutral names.

Supported: one embedding; one recurrent layer (`torch.nn.RNN`, `GRU`, `LSTM`; `paddle.nn.SimpleRNN`, `GRU`, `LSTM`; any
number of layers, one or both directions) or the convolutions of a TextCNN (`core/weights/finders_textcnn.py`); a
linear head with at most one hidden layer.

| in the file | in seqtwin |
|---|---|
| `EMB.weight` [V, E]; E is the width of `weight_ih_l0` | `embedding.weight`, row 0 (PAD) set to zero |
| `RNN.weight_ih_l{k}`, `weight_hh`, `bias_ih`, `bias_hh`, with `_reverse`: both frameworks' layout | `encoder....` |
| `RNN.{k}.cell...`, `cell_fw`, `cell_bw`: Paddle's second name of the same array | the same; must be equal |
| linear layers from F = H * directions to the classes: [out, in], in Paddle's files [in, out] | `head.hidden`, `head` |

The shape of `weight_hh_l0` [G * H, H] determines the cell: G is 1 (SRN), 3 (GRU) or 4 (LSTM). The gate order is always
i, f, g, o or r, z, n, so recurrent arrays are copied unchanged. Example:

    torch, paddle = backends.load("torch"), backends.load("paddle")
    port = convert(torch.read_state("model.pt"), torch.LINEAR_LAYOUT)  # a Port: model, arrays, assumptions
    engine = paddle.Engine(port.model, Training(), port.arrays, Executor("cpu", "builtin"))
    paddle.write_state("model.pdparams", to_state(port, port.modules, paddle.LINEAR_LAYOUT))
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.errors import UserError
from core.models.heads.pooling import JOINED, joined
from core.models.model import Model, parameter_table
from core.models.ngrams import SCALE
from core.spec.experiment import Experiment, replace
from core.weights.choices import Choices, classifier_head
from core.weights.finders import Part, check_finite, find_embedding, find_recurrent, join, shown
from core.weights.finders_head import HeadFinder
from core.weights.finders_textcnn import find_convolutions, find_tables, has_convolutions, in_layout_of
from core.weights.paddle_files import layer_name
from core.weights.reparametrized import folded
from core.weights.state_dict import StateDict

NEUTRAL_MODULES = {name: name for name in ("embedding", "encoder", "head.hidden", "head")}
"""Neutral module names."""

WRAPPERS = ("module.", "_orig_mod.", "model.")
"""Name prefixes of data-parallel wrappers, compilers and training frameworks."""


@dataclass(frozen=True)
class Row:
    """One array: neutral name and shape, name and shape in the file (empty for a missing bias)."""

    neutral: str
    shape: tuple[int, ...]
    source: str
    source_shape: tuple[int, ...]


@dataclass(frozen=True)
class Port:
    """A classifier converted from a state dict.

    `arrays` have the dtype of the model, neutral names, layout [out, in], and a zero PAD row.
    """

    model: Model
    arrays: dict[str, np.ndarray]
    pad_row: np.ndarray
    """Original row 0 of the embedding, [E]."""
    modules: dict[str, str]
    """Module names in the file by neutral name; one per kernel for a TextCNN."""
    rows: list[Row]
    duplicates: dict[str, str]
    """Second names of arrays, with their first names."""
    unplaced: dict[str, str]
    """Unused arrays; if the original model uses them, it is a different model."""
    skipped: dict[str, str]
    """Other entries of the file, such as optimizer state."""
    notes: list[str]
    assumed: list[str]


def convert(state: StateDict, layout: str, choices: Choices | None = None) -> Port:
    """Convert the classifier in a state dict.

    `layout` of its linear weights: `out_in` or `in_out`. Raises UserError, naming file and array, for everything that
    would change the model: a missing array, a wrong shape, a second encoder, a projection, linear layers that form no
    chain.
    """
    choices, where = choices or Choices(), state.where
    every, notes = _plain(state)
    scale = every.pop(SCALE, None)
    if scale is not None and choices.ngrams is None:
        raise UserError(f"{where}: {SCALE}: a model with n-grams: convert the file in its run folder")
    encoder, embedding, left = _body(every, where, choices)
    head = HeadFinder(left, where, encoder.features, layout, state.ordered, choices).find()
    left = _without(left, head)

    parts = (embedding, encoder, head)
    changes, arrays, sources, modules = {}, {}, {}, {}
    for part in parts:
        changes |= part.changes
        arrays |= part.arrays
        sources |= part.sources
        modules |= part.modules
    _refuse_empty(every, parts, where)
    changes |= embedding.changes  # with two tables, each has half of the encoder's input size
    assumed = [line for part in parts for line in part.assumed]
    for field, value in (("pooling", choices.pooling), ("activation", choices.activation)):
        if value is not None:
            changes[f"model.head.{field}"] = value
    if choices.ngram_inputs and choices.ngrams is not None:
        changes["model.ngrams"] = {**choices.ngrams.model_dump(mode="json"), "logits": False}
    model = replace(Experiment(), changes, where).model
    if scale is not None:
        notes.append(
            f"left out: the linear model of n-grams; your module must add {float(scale.reshape(-1)[0]):.6g}"
            f" ({SCALE}) times its logits to its own"
        )
    if choices.ngram_inputs:
        notes.append(
            f"inputs of the encoder: {model.embedding.output_size} numbers of the word vector, then"
            f" {choices.ngram_inputs} values of n-grams, {model.encoder_inputs} in all"
        )
    head = classifier_head(model, where)
    if choices.pooling is None and head.pooling in JOINED:
        parts = joined(head.pooling)
        order = ", then ".join(parts)
        assumed.append(f"{head.pooling} pooling ({order}), as the head reads {len(parts)} features per encoder output")
    elif choices.pooling is None:
        assumed.append(f"{head.pooling} pooling, which the weights do not determine (`pooling` last, mean or max)")
    if choices.activation is None and head.hidden_size is not None:
        assumed.append(
            f"{head.activation} after {modules['head.hidden']}, which the weights do not determine (`activation`)"
        )
    if head.one_logit:
        assumed.append(f"the single output of {modules['head']} is the logit of class 1 of two")
    for name, source in sources.items():
        check_finite(arrays[name], source, where)
    dtype = np.result_type(*arrays.values())
    if any(array.dtype != dtype for array in arrays.values()):
        notes.append("float32 arrays converted to float64, as others are float64")
    # C-contiguous copies: an array may be transposed, or a view of the file.
    arrays = {row.name: np.array(arrays[row.name], dtype=dtype, order="C") for row in parameter_table(model)}
    pad_row = arrays["embedding.weight"][0].copy()
    for table in (row.name for row in parameter_table(model) if row.looked_up):
        if arrays[table][0].any():
            assumed.append(
                f"id 0 is padding with a zero word vector in the reference, although row 0 of {sources[table]} is not"
                f" zero (largest entry {np.abs(arrays[table][0]).max():.3g}): compare a model that looks up id 0"
                f" with its logits"
            )
        arrays[table][0] = 0.0
    shapes = {name: every[source].shape for name, source in sources.items()}
    unplaced = {name: f"{array.dtype.name} {list(array.shape)}" for name, array in left.items()}
    unplaced |= state.unread
    return Port(
        model=model,
        arrays=arrays,
        pad_row=pad_row,
        modules=modules,
        rows=[Row(name, array.shape, sources.get(name, ""), shapes.get(name, ())) for name, array in arrays.items()],
        duplicates=encoder.duplicates,
        unplaced=unplaced,
        skipped=state.skipped,
        notes=[*state.notes, *notes],
        assumed=assumed,
    )


def _refuse_empty(arrays: dict[str, np.ndarray], parts: tuple[Part, ...], where: str) -> None:
    """Raise UserError for a layer without inputs or outputs, such as a head of 0 classes."""
    for source in (source for part in parts for source in part.sources.values()):
        if arrays[source].size == 0:
            raise UserError(
                f"{where}: {shown(source, arrays[source])} is empty, expected at least one input and output: give"
                f" another file"
            )


def head_finder(state: StateDict, layout: str, choices: Choices) -> HeadFinder:
    """Return the finder of the head, on the arrays that encoder and embedding leave. Raises UserError."""
    encoder, _, left = _body(_plain(state)[0], state.where, choices)
    return HeadFinder(left, state.where, encoder.features, layout, state.ordered, choices)


def _plain(state: StateDict) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the arrays without prefixes of wrappers and without weight norm, and notes for the user."""
    arrays, notes = unwrapped(state.arrays)
    arrays, more = folded(arrays, state.where)
    return arrays, [*notes, *more]


def _body(arrays: dict[str, np.ndarray], where: str, choices: Choices) -> tuple[Part, Part, dict[str, np.ndarray]]:
    """Return encoder, embedding and the remaining arrays."""
    recurrent = any(map(layer_name, arrays)) or not has_convolutions(arrays)
    if recurrent:
        encoder = find_recurrent(arrays, where, choices.encoder)
    else:
        encoder = find_convolutions(arrays, where, choices.encoder, choices.encoder_activation)
    left = _without(arrays, encoder)
    encoder.changes["model.embedding.dim"] -= choices.ngram_inputs
    find_words = find_embedding if recurrent else find_tables
    embedding = find_words(left, where, encoder.changes["model.embedding.dim"], choices.embedding)
    return encoder, embedding, _without(left, embedding)


def _without(arrays: dict[str, np.ndarray], part: Part) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays.items() if name not in part.used}


def unwrapped(
    arrays: dict[str, np.ndarray], wrappers: tuple[str, ...] = WRAPPERS
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Remove wrapper prefixes that all names share; return the arrays and notes for the user."""
    notes = []
    while wrapper := next((w for w in wrappers if arrays and all(name.startswith(w) for name in arrays)), None):
        arrays = {name.removeprefix(wrapper): array for name, array in arrays.items()}
        notes.append(f"prefix {wrapper} removed from every name")
    return arrays, notes


def to_state(port: Port, modules: dict[str, str], layout: str) -> dict[str, np.ndarray]:
    """Return the arrays with names and layout of a model built of a framework's layers.

    Row 0 of the embedding is the original one.
    """
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
    """Return the first difference, bit by bit, between two ports; None if they are identical."""
    if one.model != other.model:
        return "the model"
    pairs = {name: (array, other.arrays[name]) for name, array in one.arrays.items()}
    if with_pad_row:
        pairs["row 0 of the embedding"] = (one.pad_row, other.pad_row)
    for name, (here, there) in pairs.items():
        if here.dtype != there.dtype or here.tobytes() != there.tobytes():
            return name
    return None
