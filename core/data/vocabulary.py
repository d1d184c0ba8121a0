"""The vocabulary: which tokens have an id of their own, and the cut of a text that is too long."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.batch import PAD, UNK
from core.errors import UserError
from core.files import write_json_atomic
from core.spec.text import Text

PAD_TOKEN, UNK_TOKEN = "<pad>", "<unk>"
FORMAT_VERSION = 1


class Vocabulary:
    """Token n has id n: PAD, UNK, then by falling count, equal counts in the order of their code points.

    `tokens` and `counts` are as long as the vocabulary. `counts[UNK]` is the number of occurrences that were left out,
    `counts[PAD]` is 0.
    """

    def __init__(self, tokens: Sequence[str], counts: Sequence[int]):
        self.tokens = list(tokens)
        self.counts = [int(count) for count in counts]
        # Without the two names: a text that literally holds "<pad>" must not become padding.
        self._ids = {token: number for number, token in enumerate(self.tokens) if number > UNK}

    @classmethod
    def build(cls, tokens: Sequence[str], counts: Sequence[int] | np.ndarray, spec: Text) -> Vocabulary:
        """Keep the most frequent of distinct `tokens` that occur at least `spec.min_count` times, as many as fit.

        Raises UserError if none is left.
        """
        counts = np.asarray(counts, dtype=np.int64)
        frequent = np.flatnonzero(counts >= max(spec.min_count, 1))
        pairs = ((-int(counts[n]), tokens[n]) for n in frequent)
        ranked = sorted(pair for pair in pairs if pair[1] not in (PAD_TOKEN, UNK_TOKEN))[: spec.vocab_size - 2]
        if not ranked:
            raise UserError(
                f"no token of the training texts occurs {spec.min_count} times: lower text.min_count or use more texts"
            )
        kept = [-count for count, _ in ranked]
        left_out = int(counts.sum()) - sum(kept)
        return cls([PAD_TOKEN, UNK_TOKEN, *(token for _, token in ranked)], [0, left_out, *kept])

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return (self.tokens, self.counts) == (other.tokens, other.counts)

    __hash__ = None

    def encode(self, tokens: Sequence[str]) -> np.ndarray:
        """Ids [len(tokens)] int64, UNK for a token that is not in the vocabulary; never PAD."""
        get = self._ids.get
        return np.fromiter((get(token, UNK) for token in tokens), dtype=np.int64, count=len(tokens))

    def save(self, path: str | Path) -> None:
        """Write JSON in UTF-8, atomically. Raises UserError if the file cannot be written."""
        tree = {"format": FORMAT_VERSION, "tokens": self.tokens, "counts": self.counts}
        write_json_atomic(path, tree, indent=None)

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Read what `save` wrote. Raises UserError if the file is missing or does not hold a vocabulary."""
        path = Path(path)
        advice = "restore it, or train again to write a new one"
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{path}: the vocabulary cannot be read ({error.strerror}): {advice}") from None
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: the vocabulary is not UTF-8 at byte {error.start}: {advice}") from None
        except (json.JSONDecodeError, RecursionError) as error:
            raise UserError(f"{path}: the vocabulary is not JSON ({error}): {advice}") from None
        wrong = _fault(tree)
        if wrong:
            raise UserError(f"{path}: not a vocabulary ({wrong}): {advice}")
        return cls(tree["tokens"], tree["counts"])


def truncate(ids: np.ndarray, spec: Text) -> np.ndarray:
    """The part of one sequence [n] that `spec` keeps, [min(n, spec.max_length)], same dtype.

    `both` takes round(max_length * head_share) tokens from the head and the rest of max_length from the tail.
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


def _fault(tree: object) -> str:
    """What keeps a decoded JSON tree from being a vocabulary; empty if nothing does."""
    if not isinstance(tree, dict) or "tokens" not in tree or "counts" not in tree:
        return "an object with tokens and counts is needed"
    version, tokens, counts = tree.get("format"), tree["tokens"], tree["counts"]
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        return f"format {version!r}, and this seqtwin reads up to {FORMAT_VERSION}"
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        return "tokens must be a list of strings"
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        return "counts must be a list of whole numbers"
    if len(tokens) != len(counts):
        return f"{len(tokens)} tokens but {len(counts)} counts"
    if tokens[:2] != [PAD_TOKEN, UNK_TOKEN]:
        return f"tokens {PAD} and {UNK} must be {PAD_TOKEN} and {UNK_TOKEN}"
    if len(set(tokens)) != len(tokens):
        return "a token occurs twice"
    return ""
