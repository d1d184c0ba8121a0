"""Pairs of a source and a target text: reading, splitting and encoding.

All pairs with the same source are in the same split, so that no test source occurs in training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.batch import UNK, Ragged
from core.data.dataset import Dataset, Prepared
from core.data.download import Progress, no_progress
from core.data.sources.pair_generators import generate, generate_beyond
from core.data.text_files import open_lines
from core.data.tokenizers import SPACE, make_tokenizer
from core.data.vocabulary import TARGET_TOKENS, Vocabulary, truncate
from core.errors import UserError
from core.rng import generator
from core.spec.data import Pairs
from core.spec.text import Text
from core.strings import shorten
from core.target_sequences import EOS, TARGET

BEYOND = "beyond"
"""Name of the additional test set of longer sequences."""


@dataclass(frozen=True)
class NamedPair:
    """A pair with its name in predictions.csv, the tokens of both sides and its strings."""

    name: str
    source: list[str]
    target: list[str]
    text: str


def prepare(
    data: Pairs, text: Text, max_output: int, progress: Progress = no_progress
) -> tuple[Prepared, dict[str, str]]:
    """Read or generate, split and encode the pairs; return them with kind, description and fingerprint.

    Both vocabularies are those of the training split. Raises UserError for a line that is no pair, an empty side, or a
    target of more than `max_output` tokens with EOS.
    """
    pairs, record = _read(data, text, progress)
    for pair in pairs:
        _check(pair, max_output)
    rows, splits = _split(pairs, data)
    vocabulary, target_vocabulary = (
        Vocabulary.build(*_counted([tokens(pairs[row]) for row in rows["train"]]), text, *special)
        for tokens, special in ((source_of, ()), (target_of, (TARGET_TOKENS,)))
    )
    sets = {name: [pairs[row] for row in own] for name, own in rows.items()}
    more = [NamedPair(f"{BEYOND}/{number}", *own) for number, own in enumerate(_tokenized(generate_beyond(data), data, text))]
    encode = _Encoder(vocabulary, target_vocabulary, text)
    summary = {**splits, "vocabulary": len(vocabulary), "target_vocabulary": len(target_vocabulary), "left_out": {}}
    summary |= {name: encode.summary(own) for name, own in sets.items()}
    encoded = {name: encode.dataset(own) for name, own in sets.items()}
    extra = {BEYOND: encode.dataset(more)} if more else {}
    return Prepared(vocabulary, **encoded, classes=[], summary=summary, target_vocabulary=target_vocabulary, more=extra), record


def source_of(pair: NamedPair) -> list[str]:
    return pair.source


def target_of(pair: NamedPair) -> list[str]:
    return pair.target


def source_tokens(data: Pairs, text: Text) -> Callable[[str], list[str]]:
    """Return the function from a source text to the tokens that the encoder reads, in its order."""
    tokenize = make_tokenizer(text)
    return (lambda string: tokenize(string)[::-1]) if data.reverse_source else tokenize


def join_tokens(tokens: list[str], text: Text) -> str:
    """Return the string of target tokens: letters are joined, other tokens are separated by spaces."""
    if text.tokenizer == "letters":
        return "".join(tokens).replace(SPACE, " ")
    return ("" if text.tokenizer == "characters" else " ").join(tokens)
