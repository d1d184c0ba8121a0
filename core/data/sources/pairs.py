"""Pairs of a source and a target text: reading, splitting and encoding.

All pairs with the same source are in the same split, so no source of the test split occurs in training.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.batch import UNK, Ragged
from core.data.dataset import Dataset, Prepared
from core.data.download import Progress, no_progress
from core.data.sources.pair_generators import generate, generate_beyond
from core.data.text_files import open_lines
from core.data.tokenizers import make_tokenizer
from core.data.vocabulary import TARGET_TOKENS, Vocabulary, truncate
from core.errors import UserError
from core.files import user_path
from core.rng import generator
from core.spec.data import Pairs
from core.spec.text import Text
from core.strings import shorten
from core.target_sequences import EOS, TARGET

BEYOND = "beyond"
"""Name of the additional test set of longer sequences."""
LEAST = 10
"""Minimum number of different sources."""


@dataclass(frozen=True)
class NamedPair:
    """A pair of strings with its name in predictions.csv."""

    name: str
    source: str
    target: str


def read_pairs(data: Pairs, progress: Progress = no_progress) -> tuple[list[NamedPair], str]:
    """Return the pairs of the train, dev and test splits, and the fingerprint of their content.

    Raises UserError for a file that cannot be read, and for a line without exactly one tab or with an empty side.
    """
    if data.generated:
        pairs = [NamedPair(f"{data.source}/{number}", *own) for number, own in enumerate(generate(data))]
        return pairs, describe(data)
    path = user_path(data.source)
    lines = open_lines(path, data.encoding, progress)
    found, digest = [], hashlib.sha256()
    for line in lines:
        digest.update(line.encode("utf-8", "surrogatepass"))
        text = line.rstrip("\r\n")
        if not text.strip():
            continue
        where = f"{path}, line {lines.number}"
        sides = text.split("\t")
        if len(sides) != 2:
            raise UserError(f"{where}: got {len(sides) - 1} tabs, expected SOURCE, a tab, TARGET: correct the line")
        if not sides[0].strip() or not sides[1].strip():
            side = "source" if not sides[0].strip() else "target"
            raise UserError(f"{where}: its {side} is empty: complete or remove the line")
        found.append(NamedPair(f"{path.name}:{lines.number}", *sides))
    return found, f"sha256:{digest.hexdigest()}"


def describe(data: Pairs) -> str:
    """Describe the data in one line for the run record."""
    backwards = ", sources reversed" if data.reverse_source else ""
    if not data.generated:
        return f"pairs in {Path(data.source).name}{backwards}"
    sizes = {"addition": f" of up to {data.digits} digits", "reverse": f" of up to {data.longest} digits"}
    size = sizes.get(data.source, "")
    return f"{data.source}{size}, {data.examples:,} examples, seed {data.seed}{backwards}"


def source_tokens(data: Pairs, text: Text) -> Callable[[str], list[str]]:
    """Return the function from a source to the tokens that the encoder reads, in its order, truncated."""
    tokenize = make_tokenizer(text)

    def tokens(string: str) -> list[str]:
        found = tokenize(string)
        kept = [found[place] for place in truncate(np.arange(len(found)), text)]
        return kept[::-1] if data.reverse_source else kept

    return tokens


def prepare(
    data: Pairs, text: Text, max_output: int, progress: Progress = no_progress
) -> tuple[Prepared, dict[str, Any]]:
    """Read or generate, split and encode the pairs; return them and their record entry.

    Both vocabularies are those of the training split. Raises UserError like `read_pairs`, for a side without tokens,
    and for a target of more than `max_output` tokens with EOS.
    """
    pairs, fingerprint = read_pairs(data, progress)
    rows = _split(pairs, data)
    sides = _Sides(data, text, max_output)
    train = [sides.tokens(pairs[row]) for row in rows["train"]]
    vocabulary = _vocabulary([source for source, _ in train], text)
    targets = _vocabulary([target for _, target in train], text, TARGET_TOKENS)
    sets: dict[str, Dataset] = {}
    summary: dict[str, Any] = {"vocabulary": len(vocabulary), "target_vocabulary": len(targets)}
    chosen = {split: [pairs[row] for row in own] for split, own in rows.items()}
    chosen[BEYOND] = [NamedPair(f"{BEYOND}/{number}", *own) for number, own in enumerate(generate_beyond(data))]
    for split, own in chosen.items():
        if own:
            sets[split], summary[split] = _encoded(own, sides, vocabulary, targets)
    how = {"dev_split": "held out by source", "test_split": "held out by source", "left_out": {}}
    more = {BEYOND: sets.pop(BEYOND)} if BEYOND in sets else {}
    splits = (sets[split] for split in ("train", "dev", "test"))
    prepared = Prepared(vocabulary, *splits, classes=[], summary=how | summary, target_vocabulary=targets, more=more)
    kind = "generated" if data.generated else "path"
    return prepared, {"kind": kind, "description": describe(data), "fingerprint": fingerprint, **prepared.summary}


class _Sides:
    """Tokens of both sides of a pair, checked."""

    def __init__(self, data: Pairs, text: Text, max_output: int) -> None:
        self.source, self.target, self.text, self.limit = (
            source_tokens(data, text),
            make_tokenizer(text),
            text,
            max_output,
        )

    def tokens(self, pair: NamedPair) -> tuple[list[str], list[str]]:
        found = self.source(pair.source), self.target(pair.target)
        for side, tokens in zip(("source", "target"), found, strict=True):
            if not tokens:
                raise UserError(
                    f"{pair.name}: the {self.text.tokenizer} tokenizer finds no tokens in its {side}: "
                    f"remove the pair, or choose another `text.tokenizer`"
                )
        if len(found[1]) >= self.limit:
            raise UserError(
                f"{pair.name}: its target has {len(found[1]):,} tokens, expected at most {self.limit - 1}: "
                f"raise `model.head.max_output`, or remove the pair ({shorten(pair.target, 40)})"
            )
        return found


def _split(pairs: list[NamedPair], data: Pairs) -> dict[str, list[int]]:
    """Return the rows of each split; pairs with equal sources stay together."""
    rows_of: dict[str, list[int]] = {}
    for row, pair in enumerate(pairs):
        rows_of.setdefault(pair.source, []).append(row)
    if len(rows_of) < LEAST:
        raise UserError(f"{data.source}: got {len(rows_of)} different sources, expected at least {LEAST}: add pairs")
    groups = list(rows_of.values())
    order = generator(data.split_seed, "split", "pairs").permutation(len(groups))
    test = max(round(data.test_share * len(groups)), 1)
    dev = max(round(data.dev_share * len(groups)), 1)
    parts = {"train": order[test + dev :], "dev": order[test : test + dev], "test": order[:test]}
    limited = {split: own[: data.train_limit] for split, own in parts.items()}
    return {split: sorted(row for group in own for row in groups[group]) for split, own in limited.items()}


def _vocabulary(sequences: list[list[str]], text: Text, *special: tuple[str, ...]) -> Vocabulary:
    counts = Counter(token for own in sequences for token in own)
    return Vocabulary.build(list(counts), list(counts.values()), text, *special)


def _encoded(
    pairs: list[NamedPair], sides: _Sides, vocabulary: Vocabulary, targets: Vocabulary
) -> tuple[Dataset, dict[str, Any]]:
    """Return a data set, whose targets end with EOS, and its summary."""
    both = [sides.tokens(pair) for pair in pairs]
    sources = Ragged.of([vocabulary.encode(source) for source, _ in both])
    outputs = Ragged.of([np.append(targets.encode(target), EOS) for _, target in both])
    names = [pair.name for pair in pairs]
    tokens = sources.values.astype(np.int32)
    dataset = Dataset(tokens, sources.offsets, {TARGET: outputs}, names, tuple(targets.tokens))
    summary = {
        "documents": len(pairs),
        "tokens": len(tokens),
        "target_tokens": len(outputs.values),
        "mean_length": round(float(sources.lengths.mean()), 2),
        "max_length": int(sources.lengths.max()),
        "longest_target": int(outputs.lengths.max()),
        "unknown_share": round(float((tokens == UNK).mean()), 6),
        "unknown_target_share": round(float((outputs.values == UNK).mean()), 6),
    }
    return dataset, summary
