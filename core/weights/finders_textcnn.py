"""Recognition of a TextCNN in a state dict: convolutions and a second, frozen embedding.

| in the file | in seqtwin |
|---|---|
| `CONVS.{j}.weight` [C, I, k]: `torch.nn.Conv1d`, `paddle.nn.Conv1D`; d2l's TextCNN | `encoder.conv{j}.weight` |
| `CONVS.{j}.weight` [C, 1, k, I]: `Conv2d` over the word vectors; PaddleNLP's `CNNEncoder` | the same, transposed |
| two embeddings of I / 2 columns, one of them called constant, static or frozen | `embedding.static.weight` |
"""

from __future__ import annotations

import re

import numpy as np

from core.errors import UserError
from core.weights.finders import Arrays, Part, find_embedding, join, shown
from core.weights.state_dict import listed

NUMBERED = re.compile(r"(.*?)\.?(\d+)\.weight$")
FROZEN = ("constant", "static", "frozen")


def _groups(arrays: Arrays) -> dict[str, dict[int, str]]:
    """Group the weights of convolutions by the prefix of their numbers."""
    found: dict[str, dict[int, str]] = {}
    for name, array in arrays.items():
        match = NUMBERED.match(name)
        if match and (array.ndim == 3 or (array.ndim == 4 and array.shape[1] == 1)):
            found.setdefault(match[1], {})[int(match[2])] = name
    return found


def has_convolutions(arrays: Arrays) -> bool:
    """Return whether there is a numbered convolution over word vectors."""
    return bool(_groups(arrays))


def find_convolutions(arrays: Arrays, where: str, wanted: str | None, activation: str | None) -> Part:
    """Find the convolutions, ordered by number.

    `wanted` is the name prefix if there are several. Raises UserError for kernels with unequal input sizes, or a bias
    of a wrong shape.
    """
    groups = _groups(arrays)
    choices = listed(list(groups))
    if wanted == "encoder" and "encoder.conv" in groups:  # neutral names
        wanted = "encoder.conv"
    if wanted is not None and wanted not in groups:
        raise UserError(f"`encoder` {wanted}: no convolutions of that name in {where}: choose one of {choices}")
    if wanted is None and len(groups) > 1:
        raise UserError(f"{where}: several groups of convolutions, {choices}: choose one with `encoder` NAME")
    prefix = wanted if wanted is not None else next(iter(groups))
    part, widths, kernels, channels = Part(modules={"encoder": prefix}), set(), [], []
    for place, (_, source) in enumerate(sorted(groups[prefix].items())):
        array, name, module = in_our_layout(arrays[source]), f"encoder.conv{place}", source.removesuffix(".weight")
        part.take(f"{name}.weight", source, array)
        part.modules[name] = module
        bias = join(module, "bias")
        if bias not in arrays:
            part.arrays[f"{name}.bias"] = np.zeros(len(array), array.dtype)
            part.assumed.append(f"zeros for the bias that {module} lacks; build it with a bias")
        elif arrays[bias].shape != (len(array),):
            raise UserError(f"{where}: got {shown(bias, arrays[bias])}, expected shape {[len(array)]}")
        else:
            part.take(f"{name}.bias", bias, arrays[bias])
        widths.add(array.shape[1])
        channels.append(array.shape[0])
        kernels.append(array.shape[2])
    if len(widths) > 1:
        raise UserError(f"{where}: the convolutions of {prefix} have input sizes {sorted(widths)}, expected equal ones")
    encoder = {"kind": "textcnn", "kernels": kernels, "channels": channels, "activation": activation or "relu"}
    part.changes = {"model.encoder": encoder, "model.head.pooling": "max", "model.embedding.dim": widths.pop()}
    part.features = sum(channels)
    if activation is None:
        part.assumed.append(
            f"{encoder['activation']} after pooling, which the weights do not determine (`encoder_activation`)"
        )
    return part


def find_tables(arrays: Arrays, where: str, inputs: int, wanted: str | None) -> Part:
    """Find the embedding with `inputs` columns, or two of half that size, the second one frozen."""
    tables = [name for name, array in arrays.items() if array.ndim == 2 and name.endswith("weight")]
    if inputs % 2 or any(arrays[name].shape[1] == inputs and "emb" in name.lower() for name in tables):
        return find_embedding(arrays, where, inputs, wanted)
    halves = [name for name in tables if arrays[name].shape[1] == inputs // 2]
    frozen = [name for name in halves if any(word in name.lower() for word in FROZEN)]
    if len(frozen) != 1:
        return find_embedding(arrays, where, inputs, wanted)
    others = {name: array for name, array in arrays.items() if name != frozen[0]}
    part = find_embedding(others, where, inputs // 2, wanted)
    trained, static = part.arrays["embedding.weight"], arrays[frozen[0]]
    if static.shape != trained.shape:
        raise UserError(f"{where}: got {shown(frozen[0], static)}, expected shape {list(trained.shape)}")
    part.take("embedding.static.weight", frozen[0], static)
    part.modules["embedding.static"] = frozen[0].rpartition(".")[0]
    part.changes |= {"model.embedding.static_copy": True, "model.embedding.dim": inputs // 2}
    return part


def in_our_layout(array: np.ndarray) -> np.ndarray:
    """Convert a convolution weight [C, I, k] or [C, 1, k, I] to [C, I, k]."""
    return array if array.ndim == 3 else array[:, 0].transpose(0, 2, 1)


def in_layout_of(array: np.ndarray, source_shape: tuple[int, ...]) -> np.ndarray:
    """Convert `array` [C, I, k] to the layout of `source_shape`, the inverse of `in_our_layout`."""
    return array.transpose(0, 2, 1)[:, None] if len(source_shape) == 4 else array
