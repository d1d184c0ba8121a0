"""The vocabulary, which maps tokens to ids, and truncation of long texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.batch import UNK
from core.checked_json import read_checked_json, write_checked_json
from core.errors import UserError
from core.spec.text import Text

PAD_TOKEN, UNK_TOKEN = "<pad>", "<unk>"
SOURCE_TOKENS = (PAD_TOKEN, UNK_TOKEN)
TARGET_TOKENS = (PAD_TOKEN, UNK_TOKEN, "<bos>", "<eos>")
"""First tokens of a vocabulary, and of that of a decoder (`core/target_sequences.py`)."""
FORMAT_VERSION = 2
"""Format 2 has a digest."""


class Vocabulary:  # noqa: PLW1641 (Python makes what compares by value, and may grow, unhashable)
    """Token n has id n: the `special` ones, PAD and UNK first, then tokens by decreasing count, ties by code point.

    `tokens` and `counts` have the length of the vocabulary. `counts[UNK]` is the number of out-of-vocabulary
    occurrences, `counts[PAD]` is 0.
    """

    def __init__(self, tokens: Sequence[str], counts: Sequence[int], special: tuple[str, ...] = SOURCE_TOKENS):
        self.tokens = list(tokens)
        self.counts = [int(count) for count in counts]
        # Excludes special tokens: a text that contains "<pad>" literally must not become padding.
        self._ids = {token: number for number, token in enumerate(self.tokens) if number >= len(special)}

    @classmethod
    def build(
        cls,
        tokens: Sequence[str],
        counts: Sequence[int] | np.ndarray,
        spec: Text,
        special: tuple[str, ...] = SOURCE_TOKENS,
    ) -> Vocabulary:
        """Build from distinct `tokens` the vocabulary of the most frequent ones.

        Tokens need at least `spec.min_count` occurrences. Raises UserError if no token remains.
        """
        counts = np.asarray(counts, dtype=np.int64)
        frequent = np.flatnonzero(counts >= max(spec.min_count, 1))
        pairs = ((-int(counts[n]), tokens[int(n)]) for n in frequent)
        ranked = sorted(pair for pair in pairs if pair[1] not in special)[: max(spec.vocab_size - len(special), 1)]
        if not ranked:
            raise UserError(
                f"no token occurs {spec.min_count} times in the training texts: lower text.min_count or use more texts"
            )
        kept = [-count for count, _ in ranked]
        unknown = int(counts.sum()) - sum(kept)
        zeros = [0] * (len(special) - 2)
        return cls([*special, *(token for _, token in ranked)], [0, unknown, *zeros, *kept], special)

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return (self.tokens, self.counts) == (other.tokens, other.counts)

    def encode(self, tokens: Sequence[str]) -> np.ndarray:
        """Return ids [len(tokens)] int64, UNK for an out-of-vocabulary token, never PAD."""
        get = self._ids.get
        return np.fromiter((get(token, UNK) for token in tokens), dtype=np.int64, count=len(tokens))

    def save(self, path: str | Path) -> None:
        """Write JSON in UTF-8 atomically. Raises UserError if the file cannot be written."""
        tree = {"format": FORMAT_VERSION, "tokens": self.tokens, "counts": self.counts}
        write_checked_json(path, tree, indent=None)

    @classmethod
    def load(cls, path: str | Path, special: tuple[str, ...] = SOURCE_TOKENS) -> Vocabulary:
        """Read a file written by `save`. Raises UserError if it is missing or not a vocabulary."""
        path = Path(path)
        advice = "restore it, or train again to write a new one"
        tree = read_checked_json(path, since=2)
        wrong = _fault(tree, special)
        if wrong:
            raise UserError(f"{path}: not a vocabulary ({wrong}): {advice}")
        return cls(tree["tokens"], tree["counts"], special)


def truncate(ids: np.ndarray, spec: Text) -> np.ndarray:
    """Truncate one sequence [n] to [min(n, spec.max_length)], same dtype.

    `both` keeps round(max_length * head_share) tokens of the head and the rest of max_length from the tail.
    """
    size, limit = len(ids), spec.max_length
    if size <= limit:
        return ids
    if spec.truncate == "head":
        return ids[:limit]
    if spec.truncate == "tail":
        return ids[size - limit :]
    head = round(limit * spec.head_share)
    return np.concatenate((ids[:head], ids[size - (limit - head) :]))


ROWS = 4096
"""Texts that are truncated together."""


def truncated(ids: np.ndarray, offsets: np.ndarray, rows: np.ndarray, spec: Text) -> tuple[np.ndarray, np.ndarray]:
    """Return the texts `rows`, truncated and concatenated, and their offsets [len(rows) + 1] int64.

    Text n is `ids[offsets[n]:offsets[n + 1]]`. Each is what `truncate` returns for it.
    """
    limit = spec.max_length
    head = {"head": limit, "tail": 0, "both": round(limit * spec.head_share)}[spec.truncate]
    sizes = offsets[rows + 1] - offsets[rows]
    kept = np.minimum(sizes, limit)
    bounds = np.concatenate(([0], np.cumsum(kept))).astype(np.int64)
    found = np.empty(bounds[-1], dtype=ids.dtype)
    for first in range(0, len(rows), ROWS):
        own = slice(first, first + ROWS)
        low, high = bounds[first], bounds[min(first + ROWS, len(rows))]
        places = np.arange(low, high) - np.repeat(bounds[own.start : own.start + len(kept[own])], kept[own])
        if (removed := (sizes - kept)[own]).any():
            places += np.repeat(removed, kept[own]) * (places >= head)
        places += np.repeat(offsets[rows[own]], kept[own])
        found[low:high] = ids[places]
    return found, bounds


def _fault(tree: object, special: tuple[str, ...]) -> str:
    """Return why a decoded JSON tree is not a vocabulary, "" if it is one."""
    if not isinstance(tree, dict) or "tokens" not in tree or "counts" not in tree:
        return "expected an object with tokens and counts"
    version, tokens, counts = tree.get("format"), tree["tokens"], tree["counts"]
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        return f"got format {version!r}, this version of seqtwin reads up to {FORMAT_VERSION}"
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        return "tokens must be a list of strings"
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        return "counts must be a list of whole numbers"
    if len(tokens) != len(counts):
        return f"{len(tokens)} tokens but {len(counts)} counts"
    if tokens[: len(special)] != list(special):
        return f"its first tokens must be {', '.join(special)}"
    if len(set(tokens)) != len(tokens):
        return "a token occurs twice"
    return ""
