"""The models that `tasks.bench` compares, as changes to the default recipe of a task.

All share the recipe's text, vocabulary, word vectors, dropout, optimizer, schedule, batches and number of epochs, so
the table compares models and not tuned recipes. Recurrent models keep the recipe's units per direction and its pooling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from core.spec.experiment import Experiment, replace

CHINESE_TOKENIZERS = ("jieba", "characters")
"""Tokenizers of texts whose words are one to three tokens long; TextCNN takes narrower kernels for them."""


@dataclass(frozen=True)
class BenchModel:
    """A model of the table."""

    title: str
    about: str
    """One line on what it can see."""
    changes: Callable[[Experiment], dict[str, object]]


def _recurrent(cell: str, bidirectional: bool) -> Callable[[Experiment], dict[str, object]]:
    return lambda base: {"model.encoder.cell": cell, "model.encoder.bidirectional": bidirectional}


def _bow(base: Experiment) -> dict[str, object]:
    return {"model.encoder": {"kind": "none"}, "model.head.pooling": "mean"}


def _textcnn(base: Experiment) -> dict[str, object]:
    chinese = base.text.tokenizer in CHINESE_TOKENIZERS
    kernels, channels = ((1, 2, 3), 128) if chinese else ((3, 4, 5), 100)
    encoder = {"kind": "textcnn", "kernels": kernels, "channels": (channels,) * len(kernels)}
    return {"model.encoder": encoder, "model.head.pooling": "max"}


MODELS: Mapping[str, BenchModel] = MappingProxyType(
    {
        "bow": BenchModel("bag of words", "mean of the word vectors: no word order", _bow),
        "textcnn": BenchModel("TextCNN", "maximum over windows of three kernel widths: local order", _textcnn),
        "srn": BenchModel("SRN", "one direction, no gates", _recurrent("srn", False)),
        "gru": BenchModel("GRU", "one direction, two gates", _recurrent("gru", False)),
        "lstm": BenchModel("LSTM", "one direction, three gates and a cell state", _recurrent("lstm", False)),
        "bilstm": BenchModel("BiLSTM", "an LSTM in each direction: the default recipe", _recurrent("lstm", True)),
    }
)
"""The models by name, in the order of the table."""


def experiment_of(name: str, base: Experiment) -> Experiment:
    """Return the spec of a model: `base` with its changes.

    Raises UserError if the spec does not allow them.
    """
    return replace(base, {**MODELS[name].changes(base), "recipe": f"bench {name}"}, f"--models {name}")
